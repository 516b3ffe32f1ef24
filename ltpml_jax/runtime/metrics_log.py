"""metrics.jsonl and TensorBoard events of a run.

metrics.jsonl holds nothing that depends on the clock or the machine, so that two runs can be compared byte by byte;
speed goes to TensorBoard and to the progress line.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ltpml_jax.errors import UserError
from ltpml_jax.runtime.files import write_atomic

FILE = "metrics.jsonl"
EVENTS = "tensorboard"


class MetricsLog:
    """Appends to a run's records; starts by cutting off what lies after the checkpoint that is resumed."""

    def __init__(self, workdir: Path, step: int, writes: bool = True) -> None:
        """Continue after `step` steps; 0 begins anew. Where it does not write, another process does."""
        self.path, self.events = workdir / FILE, None
        if not writes:
            return
        write_atomic(self.path, "".join(kept_lines(self.path, step)))
        self.events = event_writer(workdir / EVENTS, step + 1)

    def write(self, lines: list[dict[str, Any]]) -> None:
        """Append records, each with its `step`; numbers also become TensorBoard scalars."""
        if self.events is None:
            return
        with self.path.open("a") as file:
            file.writelines(json.dumps(clean(line)) + "\n" for line in lines)
        for line in lines:
            for name, value in line.items():
                if isinstance(value, float) and math.isfinite(value):
                    self.events.add_scalar(name, value, line["step"])
        self.events.flush()

    def epoch_losses(self, epoch: int) -> list[float]:
        """The losses of an epoch's steps so far; from the file, since a resumed run has not seen them all.

        Those that are not finite are left out.
        """
        lines = map(json.loads, self.path.read_text().splitlines())
        return [line["loss"] for line in lines if line["epoch"] == epoch and line.get("loss") is not None]

    def has_epoch(self, step: int) -> bool:
        """Whether the summary of the epoch that ends with `step` is written."""
        lines = map(json.loads, self.path.read_text().splitlines())
        return any(line["step"] == step and "epoch_loss" in line for line in lines)

    def scalar(self, name: str, value: float, step: int) -> None:
        """A number for TensorBoard alone."""
        if self.events:
            self.events.add_scalar(name, value, step)

    def close(self) -> None:
        """Close the event file."""
        if self.events:
            self.events.close()


def event_writer(folder: Path, purge_step: int | None = None, suffix: str = "") -> Any:
    """tensorboardX's SummaryWriter, which hides events of `purge_step` and later from before; suffix: of its file.

    When tensorboardX is imported it imports torch and comet_ml, where they are installed, though scalars need neither:
    5 s for torch. So it finds them absent.
    """
    absent = {"torch", "comet_ml"} - sys.modules.keys()
    for name in absent:
        sys.modules[name] = None  # pyright: ignore[reportArgumentType]: None makes its import raise ImportError
    try:
        from tensorboardX import SummaryWriter
    finally:
        for name in absent:
            del sys.modules[name]
    return SummaryWriter(str(folder), purge_step=purge_step, filename_suffix=suffix)


def unreadable(workdir: Path) -> list[int]:
    """Index of every training image that could not be read, as often as it should have been."""
    lines = map(json.loads, kept_lines(workdir / FILE, sys.maxsize))
    return [index for line in lines for index in line.get("unreadable", [])]


def kept_lines(path: Path, step: int) -> list[str]:
    """The whole lines of metrics.jsonl up to and with `step`; a line torn by a kill is dropped.

    Raises UserError for a line that is no record.
    """
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [line for number, line in enumerate(lines, 1) if line.endswith("\n") and _step(path, number, line) <= step]


def _step(path: Path, number: int, line: str) -> int:
    try:
        return json.loads(line)["step"]
    except (ValueError, TypeError, KeyError):
        raise UserError(f"Line {number} of {path} is no record of a step; restore the file, or delete it.") from None


def step_record(step: int, epoch: int, metrics: dict[str, np.ndarray], digest: bytes) -> dict[str, Any]:
    """One line of a step: scalars as floats, masks bool [B] as hex bits, the batch's digest as hex."""
    record: dict[str, Any] = {"step": step, "epoch": epoch, "batch": digest.hex()}
    for name, value in metrics.items():
        value = np.asarray(value)
        record[name] = np.packbits(value).tobytes().hex() if value.dtype == bool else float(value)
    return record


def clean(line: dict[str, Any]) -> dict[str, Any]:
    """The record with undefined numbers as null, which JSON can hold."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in line.items()
    }
