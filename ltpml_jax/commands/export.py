"""Write a run's backbone as weights to start others from: `python -m ltpml_jax.export --workdir=DIR --out=FILE`."""

from pathlib import Path

import jax
from absl import flags
from flax import nnx

from ltpml_jax import checkpoints
from ltpml_jax.cli import launch
from ltpml_jax.config import saved, validate
from ltpml_jax.errors import UserError
from ltpml_jax.models import weights
from ltpml_jax.setup import open_checkpoint, prepare
from ltpml_jax.state import make_mesh

WORKDIR = flags.DEFINE_string("workdir", "", "Directory of the run.")
OUT = flags.DEFINE_string("out", "", "The .safetensors file to write.")


def main(argv: list[str]) -> None:
    """Write the backbone of the newest checkpoint."""
    workdir = Path(WORKDIR.value)
    config = saved(workdir)
    validate(config)
    this = prepare(config, workdir, make_mesh(jax.local_devices()[:1]), pretrained=False)
    with checkpoints.open_manager(workdir, read_only=True) as manager:
        state = open_checkpoint(this, manager, checkpoints.newest(manager)).state
    model = nnx.merge(this.parts.graphdef, state.params, state.rest)
    try:
        weights.save_backbone(model, Path(OUT.value))
    except OSError as error:
        raise UserError(f"The file {OUT.value} cannot be written ({error.strerror}); give another --out.") from None


if __name__ == "__main__":
    launch(main, required=("workdir", "out"))
