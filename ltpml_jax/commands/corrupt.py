"""Make candidate sets that a run can load: `python -m ltpml_jax.corrupt --dataset=NAME --kind=KIND --out=FILE.npz`.

Or import those of the reference code: `--import_npy=FILE [--order=LIST]` in place of `--kind`.
"""

from absl import flags

from configs import default
from ltpml_jax.cli import launch
from ltpml_jax.data import corrupting

DATASET = flags.DEFINE_string("dataset", "", "Name of the dataset.")
DATA = flags.DEFINE_string("data_dir", default.get_config().data.dir, "Where the dataset lies.")
KIND = flags.DEFINE_enum("kind", None, corrupting.KINDS, "What becomes of its labels.")
RATE = flags.DEFINE_float(
    "rate", None, "partial, tail_biased: rate of flips; missing: of positives dropped; keep: share of labels left."
)
SEED = flags.DEFINE_integer("seed", 0, "Seed; with the rate and the labels it fixes the table for ever.")
KEEP_ONE = flags.DEFINE_boolean("keep_one", False, "missing: leave each image one positive at least.")
IMPORT = flags.DEFINE_string("import_npy", "", "Candidate sets of the reference code, an .npy file.")
ORDER = flags.DEFINE_string("order", "", "The list of images that the rows of --import_npy follow.")
OUT = flags.DEFINE_string("out", "", "The file to write, an .npz.")


def main(argv: list[str]) -> None:
    """Make or import a table, save it, and say what it is."""
    request = corrupting.Request(
        dataset=str(DATASET.value),
        data_dir=str(DATA.value),
        out=str(OUT.value),
        kind=KIND.value,
        rate=RATE.value,
        seed=SEED.value,
        keep_one=KEEP_ONE.value,
        imported=str(IMPORT.value),
        order=str(ORDER.value),
    )
    print("\n".join(corrupting.fulfil(request)))


if __name__ == "__main__":
    launch(main, required=("dataset", "out"))
