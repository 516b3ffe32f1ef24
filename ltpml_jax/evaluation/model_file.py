"""model.json of a work directory: what its network's inputs and outputs mean, where the dataset is gone.

A JSON object: `format`, `ltpml_jax` (version of the package), `method`, `predictions` (names, the headline first),
`class_names`, `groups` (numbers of the head, medium and tail classes), `class_counts` and `counts_are` ("estimated" or
"oracle"), `image_size`, `resize`, `mean` and `std` (of pixels / 255), `backbone`, `dataset` (its name, how many
images train, `states_sha256` of all training labels as prepared, `candidates_sha256` of the candidate sets),
`candidates` (how those were made).
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ltpml_jax import __version__
from ltpml_jax.config import settings
from ltpml_jax.data import manifest
from ltpml_jax.data.json_form import Fits, list_of, named, number, record, text, whole
from ltpml_jax.data.labels import GROUPS
from ltpml_jax.errors import UserError
from ltpml_jax.methods.settings import Config
from ltpml_jax.photometric import IMAGENET_MEAN, IMAGENET_STD
from ltpml_jax.runtime.files import write_atomic, writing

if TYPE_CHECKING:
    from ltpml_jax.experiment import Experiment

FILE = "model.json"
FORMAT = 1
MAKE = "`ltpml evaluate --workdir={} --predictions` makes it while the dataset is there"


_NUMBERS = list_of(lambda value: whole(value) and value >= 0)
_FIELDS: dict[str, Fits] = {
    "method": text,
    "predictions": list_of(text),
    "class_names": list_of(text),
    "groups": record(dict.fromkeys(GROUPS, _NUMBERS)),
    "class_counts": list_of(number),
    "counts_are": text,
    "image_size": lambda value: whole(value) and settings()["data.image_size"].rule.holds(value),
    "resize": text,
    "mean": list_of(number),
    "std": list_of(number),
    "backbone": text,
    "dataset": record({"name": text, "training_images": whole, "candidates_sha256": text}),
    "candidates": record({"kind": text, "parameters": named(lambda value: True)}),
}


class ModelFile(NamedTuple):
    """model.json as it is read: C class names, groups as masks bool [C], class_counts float64 [C], the rest as JSON."""

    class_names: tuple[str, ...]
    groups: dict[str, np.ndarray]
    class_counts: np.ndarray
    record: dict[str, Any]


def save(run: "Experiment") -> None:
    """Write model.json of a run, whole or not at all; UserError where it cannot be written."""
    path = run.workdir / FILE
    with writing(path):
        write_atomic(path, json.dumps(describe(run), indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def describe(run: "Experiment") -> dict[str, Any]:
    """The content of model.json."""
    config, task = run.config, run.task
    return {
        "format": FORMAT,
        "ltpml_jax": __version__,
        "method": config.method.name,
        "predictions": list(run.method.predictions),
        "class_names": list(task.dataset.class_names),
        "groups": {name: np.flatnonzero(mask).tolist() for name, mask in task.dataset.groups.items()},
        "class_counts": np.asarray(task.prior.class_count, np.float64).tolist(),
        "counts_are": config.data.priors,
        "image_size": config.data.image_size,
        "resize": config.data.resize,
        "mean": [float(str(value)) for value in IMAGENET_MEAN],  # 0.485, where float() gives 0.48500001430511475
        "std": [float(str(value)) for value in IMAGENET_STD],
        "backbone": config.model.backbone,
        "dataset": {
            "name": task.dataset.name,
            "training_images": len(task.train),
            "states_sha256": manifest.digest(task.dataset.train.labels),
            "candidates_sha256": task.digest,
        },
        "candidates": candidates_origin(config),
    }


def candidates_origin(config: Config) -> dict[str, Any]:
    """How the candidate sets of a run were made: `kind`, `parameters`, `seed`, and what a manifest adds."""
    data = config.data
    if data.labels == "clean":
        return {"kind": "clean", "parameters": {}, "seed": None}
    if data.candidates:
        return manifest.read_origin(data.candidates)
    parameters = {
        "partial": {"rate": data.partial_rate},
        "tail_biased": {"rate": data.partial_rate},
        "missing": {"rate": data.missing_rate, "keep_one": False},
        "single": {},
    }[data.noise]
    if parameters == {"rate": 0}:
        return {"kind": "prepared", "parameters": {}, "seed": None}
    return {"kind": data.noise, "parameters": parameters, "seed": data.candidate_seed}


def load(workdir: Path) -> ModelFile:
    """The model.json of a work directory; UserError where it is missing, not of this format, or damaged."""
    path = workdir / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"There is no {FILE} in {workdir}; {MAKE.format(workdir)}.") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path} is damaged: it is not JSON; {MAKE.format(workdir)}.") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path} is not a {FILE} of format {FORMAT}; {MAKE.format(workdir)}.")
    try:
        return _read(content)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path} is damaged: {what}; {MAKE.format(workdir)}.") from None


def _read(content: dict[str, Any]) -> ModelFile:
    for name, fits in _FIELDS.items():
        if name not in content:
            raise KeyError(name)
        if not fits(content[name]):
            raise ValueError(f"its field {name!r} is not as written")
    names = tuple(content["class_names"])
    groups = {name: np.zeros(len(names), bool) for name in GROUPS}
    for name, mask in groups.items():
        mask[content["groups"][name]] = True
    counts = np.asarray(content["class_counts"], np.float64)
    if counts.shape != (len(names),):
        raise ValueError(f"it has {counts.size} class counts for {len(names)} classes")
    return ModelFile(names, groups, counts, content)
