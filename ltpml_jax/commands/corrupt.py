"""Make candidate sets that a run can load: `ltpml corrupt --dataset=NAME --kind=KIND --rate=RATE --out=FILE`.

Or import those of the reference code: `--import_npy=FILE [--order=LIST]` in place of `--kind`.
"""

import math
from typing import Any

from absl import flags

from ltpml_jax.cli import DATA_DIR, Command
from ltpml_jax.errors import UserError

KINDS = ("partial", "tail_biased", "missing", "keep", "single")


def define(values: flags.FlagValues) -> None:
    """The command's flags."""
    flags.DEFINE_string("dataset", "", "Name of the dataset.", values)
    flags.DEFINE_string("data_dir", DATA_DIR, "Where the dataset lies.", values)
    flags.DEFINE_enum("kind", None, KINDS, "How its labels are corrupted.", values)
    rate = "partial, tail_biased: rate of flips; missing: of positives dropped; keep: share of labels left."
    flags.DEFINE_float("rate", None, rate, flag_values=values)
    seed = "Seed; with the rate and the labels it determines the table, on every machine."
    flags.DEFINE_integer("seed", 0, seed, flag_values=values)
    flags.DEFINE_bool("keep_one", False, "missing: leave each image one positive at least.", flag_values=values)
    flags.DEFINE_string("import_npy", "", "Candidate sets of the reference code, an .npy file.", values)
    flags.DEFINE_string("order", "", "The list of images that the rows of --import_npy follow.", values)
    flags.DEFINE_string("out", "", "The file to write, a .safetensors file.", values)


def problems(values: Any) -> list[str]:
    """A sentence for each flag that does not go with the others."""
    kind, found = values.kind, []
    if (kind is None) == (not values.import_npy):
        found.append("Give either --kind or --import_npy, and not both.")
    if values.order and not values.import_npy:
        found.append("--order belongs to --import_npy; leave it out.")
    if values.keep_one and kind != "missing":
        found.append("--keep_one belongs to --kind=missing; leave it out.")
    if kind in (None, "single") and values.rate is not None:
        found.append(f"--rate means nothing to {'--kind=single' if kind else '--import_npy'}; leave it out.")
    if kind not in (None, "single") and values.rate is None:
        found.append(f"--kind={kind} needs a --rate; add one.")
    return found


def run(values: Any) -> None:
    """Load the dataset, corrupt its labels or import candidate sets for it, save the table and describe it.

    Raises UserError where the rate is out of range, the dataset or a file cannot be read, or the candidate sets do not
    belong to the dataset.
    """
    from etils import epath

    from ltpml_jax.data import datasets, locations, manifest
    from ltpml_jax.data.labels import LabelState
    from ltpml_jax.runtime.files import check_new

    locations.check_reachable(values.out)
    dataset = datasets.load(values.dataset, values.data_dir)
    labels = dataset.train.labels
    table = _imported(values, dataset) if values.import_npy else _corrupted(values, labels)
    origin = {"dataset": dataset.name, "source": manifest.digest(labels), **_origin(values)}
    made = manifest.Manifest(table, origin, manifest.digest(table))
    manifest.check(made, labels, dataset.name)
    if not _is_there(values.out, made):  # the same command may come again, after an interruption
        check_new(epath.Path(values.out))
        manifest.save(values.out, table, origin)
    unknown = " --config.data.unknown=unknown" if (table == LabelState.UNKNOWN).any() else ""
    print("\n".join([*description(labels, made), f"use it with --config.data.candidates={values.out}{unknown}"]))


def _is_there(path: str, made: Any) -> bool:
    """Whether a file holds these labels already, of the same origin."""
    from ltpml_jax.data import manifest

    try:
        found = manifest.load(path)
    except UserError:
        return False
    return (found.digest, found.origin) == (made.digest, made.origin)


def _corrupted(values: Any, labels: Any) -> Any:
    """The labels int8 [N, C] as the flags corrupt them."""
    from ltpml_jax.data import corruption

    seed = values.seed
    rate = math.nan if values.rate is None else values.rate  # NaN is refused by every kind that has a rate
    match values.kind:
        case "partial":
            return corruption.partial(labels, rate, seed)
        case "tail_biased":
            return corruption.tail_biased(labels, rate, seed)
        case "missing":
            return corruption.missing(labels, rate, seed, values.keep_one)
        case "keep":
            return corruption.keep(labels, rate, seed)
    return corruption.single(labels, seed)


def _imported(values: Any, dataset: Any) -> Any:
    """The candidate sets int8 [N, C] of the reference code, in the order of the dataset's images."""
    from ltpml_jax.data.readers import reference_cache

    table = reference_cache.read_table(values.import_npy)
    if not values.order:
        return table
    records = dataset.train.records
    return reference_cache.reorder(table, values.order, [records[row]["id"] for row in range(len(records))])


def _origin(values: Any) -> dict[str, Any]:
    """How the table was made, for the manifest."""
    if values.import_npy:
        return {"kind": "import", "parameters": {}, "seed": None}
    parameters: dict[str, Any] = {} if values.rate is None else {"rate": values.rate}
    if values.kind == "missing":
        parameters["keep_one"] = values.keep_one
    return {"kind": values.kind, "parameters": parameters, "seed": values.seed}


def description(labels: Any, made: Any) -> list[str]:
    """What became of labels int8 [N, C], a line each: the hash, an image's labels on the average, the rates."""
    from ltpml_jax.data.labels import LabelState

    table, origin = made.table, made.origin
    became = _transitions(labels, table)
    mean = ", ".join(f"{became[:, state].sum() / len(table):.2f} {state.name.lower()}" for state in LabelState)
    return [
        f"{origin['kind']} of {origin['dataset']}: {len(table)} images, {table.shape[1]} classes",
        f"sha256 {made.digest}",
        f"labels of an image, on the average: {mean}",
        f"of the negatives became candidates: {_share(became[LabelState.NEGATIVE], LabelState.CANDIDATE)}",
        f"of the positives became unknown: {_share(became[LabelState.POSITIVE], LabelState.UNKNOWN)}",
        f"of all labels are still known: {became[:, : LabelState.CANDIDATE].sum() / became.sum():.4f}",
    ]


def _transitions(before: Any, after: Any) -> Any:
    """How many labels went from one state to another: int64 [4, 4], row before, column after."""
    import numpy as np

    from ltpml_jax.data.labels import LabelState, blocks

    states = len(LabelState)
    total = np.zeros(states * states, np.int64)
    for part in blocks(*before.shape):
        total += np.bincount((states * before[part] + after[part]).ravel(), minlength=states * states)
    return total.reshape(states, states)


def _share(row: Any, state: int) -> str:
    return f"{row[state] / row.sum():.4f}" if row.any() else "-"


COMMAND = Command(
    "Make candidate sets that a run can load, or import some.", define, ("dataset", "out"), run, problems, remote=True
)
