"""What `benchmarks.scaling` asks of a process with its own count of virtual devices: one line of JSON.

python -m benchmarks.scaling_parts step '{"images": 1000, "classes": 80, "batch": 256, "size": 32}'
"""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks import hlo, state_update, synthetic
from configs import coco_mlt
from ltpml_jax.experiment import Experiment, compile_step, fresh_state
from ltpml_jax.optimizer import build_optimizer
from ltpml_jax.state import TrainState, batch_sharding, init_state, make_mesh, state_shardings

Figures = dict[str, Any]


def assembled(
    images: int, classes: int, batch: int = 256, size: int = 32, block: int = 0, backbone: str = "resnet18"
) -> Experiment:
    config = coco_mlt.get_config()
    config.ndlp.mixup_block = block
    config.data.batch_size, config.data.image_size, config.model.backbone = batch, size, backbone
    return synthetic.assembled(config, images, classes)


def figures_of(compiled: jax.stages.Compiled) -> Figures:
    found = hlo.collectives(str(compiled.as_text()), jax.device_count())
    return {"moved": [item._asdict() | {"sent": item.sent} for item in found], **hlo.memory(compiled)}


def share(run: Experiment) -> int:
    """Bytes of the table on each device."""
    return run.shapes.rows.size * 4 // run.mesh.size


def step(images: int, classes: int, batch: int, size: int, block: int = 0, backbone: str = "resnet18") -> Figures:
    """The whole step; nothing is allocated."""
    run = assembled(images, classes, batch, size, block, backbone)
    served = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), synthetic.random_batch(run, 0))
    lowered = compile_step(run).lower(run.shapes, served)  # pyright: ignore[reportFunctionMemberAccess]
    # The program is read and not run: its transfers and memory are the same without optimised machine code.
    compiled = lowered.compile({"xla_backend_optimization_level": 0})
    return figures_of(compiled) | {"share": share(run)}


def init(images: int, classes: int, backbone: str = "resnet18") -> Figures:
    """The state's initialisation from label states int8 [N, C]; nothing is allocated."""
    run = assembled(images, classes, backbone=backbone)
    optimizer = build_optimizer(run.config, run.task.steps_per_epoch)

    def make(parts: Any, labels: jax.Array) -> TrainState:
        prior = run.task.prior
        return init_state(parts.trainable, parts.rest, optimizer, run.method, labels, prior, run.config.seed)

    labels = jax.ShapeDtypeStruct(run.shapes.rows.shape, np.int8, sharding=batch_sharding(run.mesh))
    compiled = jax.jit(make, out_shardings=run.shardings).lower(run.parts, labels).compile()
    return figures_of(compiled) | {"share": share(run)}


def real(images: int, classes: int, steps: int = 5) -> Figures:
    """A state made and some steps run; bytes of the process before, after and at its peak."""
    run = assembled(images, classes)
    before, started = peak(), time.perf_counter()
    state = jax.block_until_ready(fresh_state(run))
    made, initialised = time.perf_counter(), peak()
    advance = compile_step(run)
    seconds = []
    for number in range(steps):
        batch = synthetic.placed_batch(run, number)
        begun = time.perf_counter()
        state, _ = jax.block_until_ready(advance(state, batch))
        seconds.append(round(time.perf_counter() - begun, 2))
    memory = {"table": 8 * share(run), "before": before, "peak of initialisation": initialised, "peak": peak()}
    return {"memory": memory, "seconds": {"initialisation": round(made - started, 1), "steps": seconds}}


def update(rows: int, batch: int, repeats: int) -> Figures:
    """NDLP's work on its state alone, with `rows` rows and `batch` images on each device."""
    mesh = make_mesh(jax.devices())
    rows, batch = rows * mesh.size, batch * mesh.size
    layout = state_shardings(jax.eval_shape(lambda: state_update.initial(rows)), mesh)
    state = jax.jit(lambda: state_update.initial(rows), out_shardings=layout)()
    by_batch = batch_sharding(mesh)
    served = jax.device_put(state_update.random_batch(np.random.default_rng(0), rows, batch), by_batch)
    compiled = (
        jax.jit(state_update.update, in_shardings=(layout, by_batch), out_shardings=layout, donate_argnums=0)
        .lower(state, served)
        .compile()
    )
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        state = jax.block_until_ready(compiled(state, served))
        seconds.append(time.perf_counter() - begun)
    flops = (compiled.cost_analysis() or {})["flops"]
    return figures_of(compiled) | {"seconds": statistics.median(seconds), "flops": flops}


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


PARTS: dict[str, Callable[..., Figures]] = {"step": step, "init": init, "real": real, "update": update}

if __name__ == "__main__":
    print(json.dumps(PARTS[sys.argv[1]](**json.loads(sys.argv[2]))))
