"""What XLA makes of the training step for a TPU, compiled without one: gradients that move, memory, work.

pip install libtpu (of the version that jax[tpu] asks for), then python -m benchmarks.tpu_program
  [--topology=v5e:2x4] [--backbone=resnet50] [--size=224] [--per_device=32] [--dtype=bfloat16]

A row for every combination of model.fold_norm and model.pointwise_matmul. Nothing is run: times are not known.
"""

import argparse
import itertools
import os
from typing import Any

import jax

from benchmarks import hlo, synthetic
from configs import coco_mlt
from ltpml_jax.experiment import compile_step
from ltpml_jax.methods.settings import Config

MIB = 2**20
SWITCHES = ("fold_norm", "pointwise_matmul")


def chips(topology: str) -> list[Any]:
    """Devices to compile for, none of which is here."""
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # not to ask a cloud which TPU this host has
    from jax.experimental import topologies  # asks for libtpu

    return list(topologies.get_topology_desc(topology, platform="tpu").devices)


def config_of(arguments: argparse.Namespace, devices: int) -> Config:
    config = coco_mlt.get_config()
    config.data.batch_size, config.data.image_size = arguments.per_device * devices, arguments.size
    config.ndlp.mixup_block = arguments.per_device
    config.model.backbone, config.model.dtype = arguments.backbone, arguments.dtype
    return config


def compiled(config: Config, devices: list[Any]) -> jax.stages.Compiled:
    """The whole step of NDLP on 80 classes."""
    run = synthetic.assembled(config, 100_000, 80, devices)
    batch = {
        name: jax.ShapeDtypeStruct(part.shape, part.dtype) for name, part in synthetic.random_batch(run, 0).items()
    }
    return compile_step(run).lower(run.shapes, batch).compile()  # pyright: ignore[reportFunctionMemberAccess]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topology", default="v5e:2x4")
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--per_device", type=int, default=32, help="images a device")
    parser.add_argument("--dtype", default="bfloat16")
    arguments = parser.parse_args()
    devices = chips(arguments.topology)
    config = config_of(arguments, len(devices))
    print(f"{arguments}, jax {jax.__version__}; MiB and work of each device")
    heads = (*SWITCHES, "summed", "gathered", "scratch", "GiB touched", "TFLOP")
    print("".join(f"{head:>18}" for head in heads))
    for values in itertools.product((True, False), repeat=2):
        config.model.update(dict(zip(SWITCHES, values, strict=True)))
        program = compiled(config, devices)
        moved = hlo.collectives(str(program.as_text()), len(devices))
        summed = sum(item.bytes for item in moved if item.kind == "all-reduce") / MIB
        gathered = sum(item.bytes for item in moved) / MIB - summed
        cost: Any = program.cost_analysis()
        row = (
            summed,
            gathered,
            hlo.memory(program)["temp"] / MIB,
            cost["bytes accessed"] / 2**30,
            cost["flops"] / 1e12,
        )
        print("".join(f"{value!s:>18}" for value in values) + "".join(f"{value:>18.2f}" for value in row), flush=True)


if __name__ == "__main__":
    main()
