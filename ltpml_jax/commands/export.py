"""Write a run's model for other programs: `ltpml export --workdir=DIR --out=FOLDER`, or its backbone alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from ltpml_jax.cli import Command
from ltpml_jax.errors import UserError

if TYPE_CHECKING:
    from ltpml_jax.evaluation.opened import OpenRun

WEIGHTS = ".safetensors"  # the end of an --out that is a file


def define(values: flags.FlagValues) -> None:
    """The command's flags."""
    flags.DEFINE_string("workdir", "", "Directory of the run.", values)
    out = "A new folder for the model; or a .safetensors file for its backbone, to start other runs from."
    flags.DEFINE_string("out", "", out, values)
    formats = "Of timm, safetensors, stablehlo and onnx, separated by commas; without it all that can be made."
    flags.DEFINE_list("formats", [], formats, flag_values=values)
    flags.DEFINE_enum("checkpoint", "last", ["last", "best"], "Which checkpoint of the run.", values)


def problems(values: Any) -> list[str]:
    """A sentence for flags that contradict each other."""
    if values.formats and values.out.endswith(WEIGHTS):
        return [f"--formats are those of a folder, but --out={values.out} is a file; leave out one of them."]
    return []


def run(values: Any) -> None:
    """Write the folder, or the file, from a checkpoint."""
    from ltpml_jax.evaluation.opened import open_run
    from ltpml_jax.exporting import export_folder
    from ltpml_jax.runtime.files import check_new

    out = Path(values.out)
    if values.out.endswith(WEIGHTS):
        check_new(out)
        write_backbone(open_run(values.workdir, checkpoint=values.checkpoint), out)
        return
    export_folder.check_formats(values.formats)  # before what takes long
    export_folder.check_folder(out)
    open_run(values.workdir, checkpoint=values.checkpoint).export(out, values.formats)


def write_backbone(opened: "OpenRun", out: Path) -> None:
    """Write a run's backbone as a .safetensors file; UserError where it has none, or the file cannot be written."""
    from flax import nnx

    from ltpml_jax.models import pretrained
    from ltpml_jax.runtime.files import writing

    network = opened.network
    model = nnx.merge(network.graphdef, network.weights, network.rest)
    if not hasattr(model, "backbone"):
        raise UserError(
            f"The network of this {opened.config.method.name!r} run has no single backbone to write; give a folder as "
            "--out, and --formats=stablehlo."
        )
    with writing(f"The file {out}", "give another --out"):
        pretrained.save_backbone(model, out)


COMMAND = Command(
    "Write a run's model for timm, ONNX or JAX, or its backbone to start others from.",
    define,
    ("workdir", "out"),
    run,
    problems,
    compiles=True,
)
