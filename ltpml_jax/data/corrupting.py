"""From a request to a manifest: loads a dataset, corrupts its labels or imports candidate sets for it, saves them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltpml_jax.data import corruption, datasets, manifest, reference_cache
from ltpml_jax.data.labels import LabelState, blocks
from ltpml_jax.errors import UserError

KINDS = ("partial", "tail_biased", "missing", "keep", "single")


@dataclass(frozen=True)
class Request:
    """The flags of the command.

    kind: one of KINDS, or None to import; rate: of flips (partial, tail_biased), of positives dropped (missing), or
    share of labels left (keep); keep_one: missing leaves each image one positive; imported: an .npy file of the
    reference code; order: the list of images that its rows follow, or "".
    """

    dataset: str
    data_dir: str
    out: str
    kind: str | None
    rate: float | None
    seed: int
    keep_one: bool
    imported: str
    order: str


def fulfil(request: Request) -> list[str]:
    """Makes the file `request.out` and returns the report on it, a line each.

    Raises:
        UserError: parts of the request do not go together or are out of range, the dataset or a file cannot be read,
            or the candidate sets do not belong to the dataset.
    """
    check(request)
    dataset = datasets.load(request.dataset, request.data_dir)
    labels = dataset.train.labels
    table = _import(request, dataset) if request.imported else _corrupt(request, labels)
    origin = {"dataset": dataset.name, "source": manifest.digest(labels), **_origin(request)}
    found = manifest.Manifest(table, origin, manifest.digest(table))
    manifest.check(found, labels, dataset.name)
    manifest.save(request.out, table, origin)
    return [*describe(labels, found), f"use it with --config.data.candidates={request.out}"]


def check(request: Request) -> None:
    """Raises UserError for parts of a request that do not go together."""
    kind = request.kind
    if (kind is None) == (not request.imported):
        raise UserError("Give either --kind or --import_npy, and not both.")
    if request.order and not request.imported:
        raise UserError("--order belongs to --import_npy; leave it out.")
    if request.keep_one and kind != "missing":
        raise UserError("--keep_one belongs to --kind=missing; leave it out.")
    if kind in (None, "single") and request.rate is not None:
        raise UserError(f"--rate means nothing to {'--kind=single' if kind else '--import_npy'}; leave it out.")
    if kind not in (None, "single") and request.rate is None:
        raise UserError(f"--kind={kind} needs a --rate; add one.")


def _corrupt(request: Request, labels: np.ndarray) -> np.ndarray:
    seed = request.seed
    rate = math.nan if request.rate is None else request.rate  # NaN is refused by every kind that has a rate
    match request.kind:
        case "partial":
            return corruption.partial(labels, rate, seed)
        case "tail_biased":
            return corruption.tail_biased(labels, rate, seed)
        case "missing":
            return corruption.missing(labels, rate, seed, request.keep_one)
        case "keep":
            return corruption.keep(labels, rate, seed)
    return corruption.single(labels, seed)


def _import(request: Request, dataset: datasets.Dataset) -> np.ndarray:
    table = reference_cache.read_table(request.imported)
    if not request.order:
        return table
    records = dataset.train.records
    return reference_cache.reorder(table, request.order, [records[row]["id"] for row in range(len(records))])


def _origin(request: Request) -> dict[str, Any]:
    """How the table came about, for the manifest."""
    if request.imported:
        return {"kind": "import", "parameters": {}, "seed": None}
    parameters: dict[str, Any] = {} if request.rate is None else {"rate": request.rate}
    if request.kind == "missing":
        parameters["keep_one"] = request.keep_one
    return {"kind": request.kind, "parameters": parameters, "seed": request.seed}


def describe(labels: np.ndarray, found: manifest.Manifest) -> list[str]:
    """What became of labels int8 [N, C], a line each: the hash, an image's labels on the average, the rates."""
    table, origin = found.table, found.origin
    became = _transitions(labels, table)
    mean = ", ".join(f"{became[:, state].sum() / len(table):.2f} {state.name.lower()}" for state in LabelState)
    return [
        f"{origin['kind']} of {origin['dataset']}: {len(table)} images, {table.shape[1]} classes",
        f"sha256 {found.digest}",
        f"labels of an image, on the average: {mean}",
        f"of the negatives became candidates: {_share(became[LabelState.NEGATIVE], LabelState.CANDIDATE)}",
        f"of the positives became unknown: {_share(became[LabelState.POSITIVE], LabelState.UNKNOWN)}",
        f"of all labels are still known: {became[:, : LabelState.CANDIDATE].sum() / became.sum():.4f}",
    ]


def _transitions(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How many labels went from one state to another: int64 [4, 4], row before, column after."""
    states = len(LabelState)
    total = np.zeros(states * states, np.int64)
    for part in blocks(*before.shape):
        total += np.bincount((states * before[part] + after[part]).ravel(), minlength=states * states)
    return total.reshape(states, states)


def _share(row: np.ndarray, state: LabelState) -> str:
    return f"{row[state] / row.sum():.4f}" if row.any() else "-"
