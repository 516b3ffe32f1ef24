"""Write a run's backbone as weights to start others from: `ltpml export --workdir=DIR --out=FILE`."""

from pathlib import Path
from typing import Any

from absl import flags

from ltpml_jax.cli import Command
from ltpml_jax.errors import UserError


def define(values: flags.FlagValues) -> None:
    """The command's flags."""
    flags.DEFINE_string("workdir", "", "Directory of the run.", values)
    flags.DEFINE_string("out", "", "The .safetensors file to write.", values)


def run(values: Any) -> None:
    """Write the backbone of the newest checkpoint."""
    from ltpml_jax.config import validate
    from ltpml_jax.workdir import saved_config

    workdir = Path(values.workdir)
    config = saved_config(workdir)
    validate(config)
    import jax
    from flax import nnx

    from ltpml_jax.experiment import build_experiment, open_checkpoint
    from ltpml_jax.models import pretrained
    from ltpml_jax.runtime import checkpoints
    from ltpml_jax.state import evaluated, make_mesh

    opened = build_experiment(config, workdir, make_mesh(jax.local_devices()[:1]), pretrained=False)
    with checkpoints.open_manager(workdir, read_only=True) as manager:
        state = open_checkpoint(opened, manager, checkpoints.newest(manager)).state
    model = nnx.merge(opened.parts.graphdef, evaluated(state), state.rest)
    try:
        pretrained.save_backbone(model, Path(values.out))
    except OSError as error:
        raise UserError(f"The file {values.out} cannot be written ({error.strerror}); give another --out.") from None


COMMAND = Command("Write a run's backbone as weights to start others from.", define, ("workdir", "out"), run)
