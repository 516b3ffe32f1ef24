"""From a request to a manifest: loads a dataset, corrupts its labels or imports candidate sets for it, saves them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltpml_jax.data import corruption, datasets, manifest, reference_cache
from ltpml_jax.data.labels import LabelState
from ltpml_jax.errors import UserError

KINDS = ("partial", "tail_biased", "missing", "keep", "single")


@dataclass(frozen=True)
class Request:
    """What the flags of the command say.

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
    """Makes the file `request.out` and returns what to tell of it, a line each.

    Raises:
        UserError: parts of the request do not go together or are out of range, the dataset or a file cannot be read,
            or the candidate sets do not belong to the dataset.
    """
    check(request)
    dataset = datasets.load(request.dataset, request.data_dir)
    labels = dataset.train.labels
    table = _import(request, dataset) if request.imported else _corrupt(request, labels)
    facts = {"dataset": dataset.name, "source": manifest.digest(labels), **_origin(request)}
    found = manifest.Manifest(table, facts, manifest.digest(table))
    manifest.check(found, labels, dataset.name)
    manifest.save(request.out, table, facts)
    return [*_describe(labels, found), f"use it with --config.data.candidates={request.out}"]


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


def _describe(labels: np.ndarray, found: manifest.Manifest) -> list[str]:
    """The hash, what an image has on the average, and the rates that came out."""
    table, facts = found.table, found.facts
    states = {state: table == state for state in LabelState}
    mean = ", ".join(f"{of.sum(1).mean():.2f} {state.name.lower()}" for state, of in states.items())
    true, false = labels == LabelState.POSITIVE, labels == LabelState.NEGATIVE
    return [
        f"{facts['kind']} of {facts['dataset']}: {len(table)} images, {table.shape[1]} classes",
        f"sha256 {found.digest}",
        f"labels of an image, on the average: {mean}",
        f"of the negatives became candidates: {_share(states[LabelState.CANDIDATE], false)}",
        f"of the positives became unknown: {_share(states[LabelState.UNKNOWN], true)}",
        f"of all labels are still known: {np.mean(table <= LabelState.POSITIVE):.4f}",
    ]


def _share(of: np.ndarray, among: np.ndarray) -> str:
    return f"{of[among].mean():.4f}" if among.any() else "-"
