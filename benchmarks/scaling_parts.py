"""What `benchmarks.scaling` asks of a process with its own count of virtual devices: one line of JSON.

python -m benchmarks.scaling_parts step '{"images": 1000, "classes": 80, "batch": 256, "size": 32}'
"""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from benchmarks import hlo, state_update
from benchmarks.step import random_batch, synthetic
from configs import coco_mlt
from ltpml_jax import network, setup
from ltpml_jax.methods.priors import Prior
from ltpml_jax.state import AXIS, TrainState, batch_sharding, init_state, make_mesh

Facts = dict[str, Any]


def assembled(
    images: int, classes: int, batch: int = 256, size: int = 32, block: int = 0, backbone: str = "resnet18"
) -> setup.Run:
    config = coco_mlt.get_config()
    config.ndlp.mixup_block = block
    config.data.batch_size, config.data.image_size, config.model.backbone = batch, size, backbone
    return setup.assemble(config, synthetic(images, classes), Path(), make_mesh(jax.devices()), pretrained=False)


def facts_of(compiled: jax.stages.Compiled) -> Facts:
    found = hlo.collectives(str(compiled.as_text()), jax.device_count())
    return {"moved": [item._asdict() | {"sent": item.sent} for item in found], **hlo.memory(compiled)}


def share(run: setup.Run) -> int:
    """Bytes of the table on each device."""
    return run.shapes.method.confidence.size * 4 // run.mesh.size


def step(images: int, classes: int, batch: int, size: int, block: int = 0, backbone: str = "resnet18") -> Facts:
    """The whole step; nothing is allocated."""
    run = assembled(images, classes, batch, size, block, backbone)
    served = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), random_batch(run, 0))
    compiled = setup.compile_step(run).lower(run.shapes, served).compile()  # pyright: ignore[reportFunctionMemberAccess]
    return facts_of(compiled) | {"share": share(run)}


def init(images: int, classes: int, backbone: str = "resnet18") -> Facts:
    """The state's initialisation from candidate sets int8 [N, C]; nothing is allocated."""
    run = assembled(images, classes, backbone=backbone)
    optimizer = network.build_optimizer(run.config)

    def make(parts: Any, labels: jax.Array) -> TrainState:
        prior = run.task.prior
        return init_state(parts.trainable, parts.rest, optimizer, run.method, labels, prior, run.config.seed)

    labels = jax.ShapeDtypeStruct(run.shapes.method.confidence.shape, np.int8, sharding=batch_sharding(run.mesh))
    compiled = jax.jit(make, out_shardings=run.shardings).lower(run.parts, labels).compile()
    return facts_of(compiled) | {"share": share(run)}


def real(images: int, classes: int, steps: int = 5) -> Facts:
    """A state made and some steps run; bytes of the process before, after and at its peak."""
    run = assembled(images, classes)
    before, started = peak(), time.perf_counter()
    state = jax.block_until_ready(setup.fresh_state(run))
    made, initialised = time.perf_counter(), peak()
    advance = setup.compile_step(run)
    seconds = []
    for number in range(steps):
        batch = jax.device_put(random_batch(run, number), batch_sharding(run.mesh))
        begun = time.perf_counter()
        state, _ = jax.block_until_ready(advance(state, batch))
        seconds.append(round(time.perf_counter() - begun, 2))
    memory = {"table": 8 * share(run), "before": before, "peak of initialisation": initialised, "peak": peak()}
    return {"memory": memory, "seconds": {"initialisation": round(made - started, 1), "steps": seconds}}


def update(rows: int, batch: int, repeats: int) -> Facts:
    """NDLP's work on its state alone, with `rows` rows and `batch` images on each device."""
    mesh, classes = make_mesh(jax.devices()), state_update.CLASSES
    rows, batch = rows * mesh.size, batch * mesh.size
    everywhere, by_row = NamedSharding(mesh, P()), NamedSharding(mesh, P(AXIS))

    def fresh(key: jax.Array) -> Any:
        candidates = jax.random.bernoulli(key, 0.1, (rows, classes))
        return state_update.METHOD.init(candidates, Prior(jnp.full(classes, rows / 20), jnp.float32(rows)))

    shapes = jax.eval_shape(fresh, jax.random.key(1))
    layout = jax.tree.map(lambda _: everywhere, shapes)._replace(confidence=by_row)
    state = jax.jit(fresh, out_shardings=layout)(jax.random.key(1))
    rng = np.random.default_rng(0)
    index = rng.integers(0, rows, batch, dtype=np.int32)
    label = (rng.random((batch, classes)) < 0.1).astype(np.float32)
    served = jax.device_put((index, label, rng.normal(size=(batch, classes)).astype(np.float32)), by_row)
    function = jax.jit(
        state_update.update, in_shardings=(layout, *3 * [by_row]), out_shardings=layout, donate_argnums=0
    )
    compiled = function.lower(state, *served).compile()
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        state = jax.block_until_ready(compiled(state, *served))
        seconds.append(time.perf_counter() - begun)
    flops = (compiled.cost_analysis() or {})["flops"]
    return facts_of(compiled) | {"seconds": statistics.median(seconds), "flops": flops}


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


PARTS: dict[str, Callable[..., Facts]] = {"step": step, "init": init, "real": real, "update": update}

if __name__ == "__main__":
    print(json.dumps(PARTS[sys.argv[1]](**json.loads(sys.argv[2]))))
