"""metrics.jsonl and TensorBoard events of a run.

metrics.jsonl holds nothing that depends on the clock or the machine, so that two runs can be compared byte by byte;
speed goes to TensorBoard and to the progress line.
"""

import json
import math
import operator
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ltpml_jax.errors import UserError
from ltpml_jax.runtime.files import write_atomic, writing

FILE = "metrics.jsonl"
EVENTS = "tensorboard"
_BEGINS = "records_begin_at"  # in the first line of a file that takes the place of one that was deleted


class MetricsLog:
    """Appends to a run's records; starts by cutting off what lies after the checkpoint that is resumed."""

    def __init__(self, workdir: Path, step: int, writes: bool = True) -> None:
        """Continue after `step` steps; 0 begins anew. Where it does not write, another process does.

        A file that was deleted begins with a line that says so, so that `lost` asks for nothing before it.
        """
        self.path, self.events = workdir / FILE, None
        if not writes:
            return
        deleted = step > 0 and not self.path.exists()
        beginning = [json.dumps({"step": step, "epoch": None, _BEGINS: step + 1}) + "\n"] if deleted else []
        with writing(self.path):
            write_atomic(self.path, "".join(beginning + kept_lines(self.path, step)))
            self.events = event_writer(workdir / EVENTS, step + 1)

    def write(self, lines: list[dict[str, Any]]) -> None:
        """Append records, each with its `step`; numbers also become TensorBoard scalars."""
        if self.events is None:
            return
        with writing(self.path), self.path.open("a") as file:
            file.writelines(json.dumps(clean(line)) + "\n" for line in lines)
        for line in lines:
            for name, value in line.items():
                if isinstance(value, float) and math.isfinite(value):
                    self.events.add_scalar(name, value, line["step"])
        self.events.flush()
        check_events(self.events)

    def epoch_losses(self, epoch: int) -> list[float]:
        """The losses of an epoch's steps so far; from the file, since a resumed run has not seen them all.

        Those that are not finite are left out.
        """
        lines = map(json.loads, self.path.read_text(encoding="utf-8").splitlines())
        return [line["loss"] for line in lines if line["epoch"] == epoch and line.get("loss") is not None]

    def has_epoch(self, step: int) -> bool:
        """Whether the summary of the epoch that ends with `step` is written."""
        lines = map(json.loads, self.path.read_text(encoding="utf-8").splitlines())
        return any(line["step"] == step and "epoch_loss" in line for line in lines)

    def scalar(self, name: str, value: float, step: int) -> None:
        """A number for TensorBoard alone."""
        if self.events:
            self.events.add_scalar(name, value, step)

    def histogram(self, name: str, counts: np.ndarray, step: int) -> None:
        """How many values lie in each of equal parts of [0, 1], [parts], for TensorBoard alone."""
        if self.events:
            limits = np.arange(1, len(counts) + 1) / len(counts)
            middles = limits - 0.5 / len(counts)
            sums = (float(counts @ middles), float(counts @ middles**2))
            self.events.add_histogram_raw(
                name, 0.0, 1.0, int(counts.sum()), *sums, limits.tolist(), counts.tolist(), step
            )

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
    writer: Any = SummaryWriter(str(folder), purge_step=purge_step, filename_suffix=suffix)
    writer.failures = []
    records = writer.file_writer.event_writer._ev_writer  # its thread would end with the first error, and we would wait
    for name in ("write_event", "flush", "close"):
        setattr(records, name, _kept(getattr(records, name), writer.failures))
    return writer


def _kept(write: Callable, failures: list[OSError]) -> Callable:
    def safe(*arguments: Any) -> Any:
        try:
            return write(*arguments)
        except OSError as error:
            failures.append(error)

    return safe


def check_events(writer: Any) -> None:
    """Raise UserError where events of an `event_writer` could not be written."""
    for error in writer.failures:
        raise UserError(
            f"The events in {writer.logdir} cannot be written ({error.strerror}); make room there, and try again."
        )


def unreadable(workdir: Path) -> list[int]:
    """Index of every training image that could not be read, as often as it should have been."""
    lines = map(json.loads, kept_lines(workdir / FILE, sys.maxsize))
    return [index for line in lines for index in line.get("unreadable", [])]


def kept_lines(path: Path, step: int) -> list[str]:
    """The whole lines of metrics.jsonl up to and with `step`; a line torn by a kill is dropped.

    Raises UserError for a line that is no record.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True) if path.exists() else []
    return [line for number, line in enumerate(lines, 1) if line.endswith("\n") and _step(path, number, line) <= step]


def _step(path: Path, number: int, line: str) -> int:
    try:
        return operator.index(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UserError(f"Line {number} of {path} is no record of a step; restore the file, or delete it.") from None


def lost(workdir: Path, step: int, per_epoch: int) -> str:
    """A sentence on what metrics.jsonl lacks of the first `step` steps and their epochs; "" where it is whole.

    The summary of an epoch that ends with `step` is not asked for: SIGTERM during its validation leaves it for later.
    """
    begins, steps, summed = 1, set(), set()
    for line in map(json.loads, kept_lines(workdir / FILE, step)):
        begins = line.get(_BEGINS, begins)
        (summed if "epoch_loss" in line else steps).add(line["step"])
    missing = [number for number in range(begins, step + 1) if number not in steps]
    epochs = [end for end in range(per_epoch, step, per_epoch) if end >= begins and end not in summed]
    parts = [f"{len(missing)} of {step} steps (from {missing[0]} to {missing[-1]})"] if missing else []
    parts += [f"the summaries of {len(epochs)} epochs"] if epochs else []
    if not parts:
        return ""
    return (
        f"{workdir / FILE} has lost the records of {' and '.join(parts)}; all that was trained and saved is whole. "
        "Restore the file from a copy; or delete it, and the command that trains does without them."
    )


def check_whole(workdir: Path, step: int, per_epoch: int) -> None:
    """Raise UserError where metrics.jsonl lacks records of the first `step` steps."""
    sentence = lost(workdir, step, per_epoch)
    if sentence:
        raise UserError(sentence)


def step_record(step: int, epoch: int, metrics: dict[str, np.ndarray], digest: bytes) -> dict[str, Any]:
    """One line of a step: scalars as floats, masks bool [B] as hex bits, the batch's digest as hex."""
    record: dict[str, Any] = {"step": step, "epoch": epoch, "batch": digest.hex()}
    for name, value in metrics.items():
        value = np.asarray(value)
        if value.dtype != bool and value.ndim:
            raise UserError(f"The method's metric {name!r} is an array {list(value.shape)}; give a number, or a mask.")
        record[name] = np.packbits(value).tobytes().hex() if value.dtype == bool else float(value)
    return record


def clean(line: dict[str, Any]) -> dict[str, Any]:
    """The record with undefined numbers as null, which JSON can hold."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in line.items()
    }
