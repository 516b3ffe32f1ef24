"""predictions-test.npz of a work directory: the logits of every test image at the end of a run, and its labels.

Arrays of NumPy's npz format, none of them pickled: `format` int, `ids` text [n], `states` int8 [n, C] of
labels.LabelState, `checkpoint` text, `step` int, `predictions` text [P] (names, the headline first), and for each of
them `logits.NAME` float32 [n, C], with rows of NaN for images that could not be read. Equal content gives equal bytes.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ltpml_jax.data.labels import LabelState
from ltpml_jax.errors import UserError
from ltpml_jax.runtime.files import replacing, writing

FILE = "predictions-test.npz"
FORMAT = 1
MAKE = "finish its run, or make it with `ltpml evaluate --workdir={} --predictions`"


class Predictions(NamedTuple):
    """ids text [n]; states int8 [n, C]; logits float32 [n, C] by prediction, the headline first; of a checkpoint."""

    ids: np.ndarray
    states: np.ndarray
    logits: dict[str, np.ndarray]
    checkpoint: str
    step: int


def save(workdir: Path, found: Predictions) -> None:
    """Write predictions-test.npz, whole or not at all; UserError where it cannot be written."""
    arrays = {
        "format": np.int64(FORMAT),
        "ids": np.asarray(found.ids, np.str_),
        "states": np.asarray(found.states, np.int8),
        "checkpoint": np.asarray(found.checkpoint, np.str_),
        "step": np.int64(found.step),
        "predictions": np.asarray(list(found.logits), np.str_),
    }
    arrays |= {f"logits.{name}": np.asarray(values, np.float32) for name, values in found.logits.items()}
    path = workdir / FILE
    with writing(path), replacing(path) as scratch, scratch.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load(workdir: Path) -> Predictions:
    """The predictions-test.npz of a work directory; UserError where it is missing, of another kind, or damaged."""
    path = workdir / FILE
    try:
        with path.open("rb") as file:
            if file.read(2) != b"PK":
                raise ValueError("it is no .npz file")  # which NumPy takes for a pickle, and advises to trust it
        with np.load(path, allow_pickle=False) as opened:
            arrays = {name: opened[name] for name in opened.files}
    except FileNotFoundError:
        raise UserError(f"There is no {FILE} in {workdir}; {MAKE.format(workdir)}.") from None
    except Exception as error:  # zipfile, zlib and NumPy each raise kinds of their own
        raise UserError(f"{path} cannot be read ({_first_line(error)}); {MAKE.format(workdir)}.") from None
    if "format" not in arrays or arrays["format"].shape != () or arrays["format"] != FORMAT:
        raise UserError(f"{path} is not a {FILE} of format {FORMAT}; {MAKE.format(workdir)}.")
    try:
        return _read(arrays)
    except (KeyError, ValueError, TypeError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path} is damaged: {what}; {MAKE.format(workdir)}.") from None


def _read(arrays: dict[str, np.ndarray]) -> Predictions:
    ids, states, names = arrays["ids"], arrays["states"], [str(name) for name in arrays["predictions"]]
    logits = {name: arrays[f"logits.{name}"] for name in names}
    if not names:
        raise ValueError("it has no prediction")
    if ids.ndim != 1 or ids.dtype.kind != "U":
        raise ValueError(f"ids is {ids.dtype} {ids.shape}")
    if states.dtype != np.int8 or states.ndim != 2 or len(states) != len(ids):
        raise ValueError(f"states is {states.dtype} {states.shape} for {len(ids)} images")
    if states.size and not 0 <= states.min() <= states.max() <= LabelState.UNKNOWN:
        raise ValueError("states has other values than 0 to 3")
    for name, values in logits.items():
        if values.dtype != np.float32 or values.shape != states.shape:
            raise ValueError(f"logits.{name} is {values.dtype} {values.shape} for states {states.shape}")
    return Predictions(ids, states, logits, str(arrays["checkpoint"]), int(arrays["step"]))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
