"""The file of predictions, written as they come, and continued where it was left.

A CSV file and JSON lines grow batch by batch, so that what an interrupted command had is there. A Parquet file has to
be whole to be read: it appears at the end.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ltpml_jax.errors import UserError
from ltpml_jax.inference import result_lines
from ltpml_jax.inference.result_lines import CSVLines, FormatError, JSONLines, Result
from ltpml_jax.inference.thresholds import Decision
from ltpml_jax.runtime.files import replacing

LINES = {".csv": CSVLines, ".jsonl": JSONLines}
PARQUET = ".parquet"
ENDINGS = (*LINES, PARQUET)


class Sink(NamedTuple):
    """done: names of the images that were there already; failed: how many of them could not be read; write: adds."""

    done: set[str]
    failed: int
    write: Callable[[list[Result]], None]


def check(path: Path, class_names: tuple[str, ...], resume: bool) -> None:
    """Raise UserError where results of such classes cannot be written to `path`."""
    if path.suffix not in ENDINGS:
        raise UserError(f"--out is {path}; end it in one of {', '.join(ENDINGS)}.")
    if path.exists() and not resume:
        raise UserError(f"The file {path} exists; add --resume to continue it, or give another --out.")
    if not path.parent.is_dir():
        raise UserError(f"There is no folder {path.parent} for --out={path}; make it, or give another --out.")
    odd = [name for name in class_names if result_lines.SEPARATOR in name]
    if odd and path.suffix != ".jsonl":
        raise UserError(
            f"The class {odd[0]!r} holds {result_lines.SEPARATOR!r}, which separates labels in {path}; end --out in "
            ".jsonl, which keeps any name."
        )


@contextlib.contextmanager
def opened(path: Path, decision: Decision, top: int) -> Iterator[Sink]:
    """A file of results to add to; what it holds already is kept, but for a last row that is not complete.

    Raises UserError where it holds the results of other classes or thresholds, or cannot be written.
    """
    if path.resolve().suffix == path.suffix:  # a link stays one
        path = path.resolve()
    try:
        with _parquet(path, decision) if path.suffix == PARQUET else _lines(path, decision, top) as sink:
            yield sink
    except FormatError as error:
        raise UserError(
            f"{path} cannot be continued: {error}; give the --workdir and --threshold that made it, or another --out."
        ) from None
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"The file {path} cannot be written ({reason}); fix that, and add --resume.") from None


@contextlib.contextmanager
def _lines(path: Path, decision: Decision, top: int) -> Iterator[Sink]:
    form = LINES[path.suffix](decision, top)
    done, failed = set(), 0
    with replacing(path) as scratch, scratch.open("w", encoding="utf-8", newline="") as new:
        new.write(form.header())
        if path.exists():
            with path.open(encoding="utf-8", errors="replace", newline="") as old:
                for result, labels in form.read(old, _ends_a_line(path)):
                    new.write(form.line(_same(result, labels, decision)))
                    done.add(result.path)
                    failed += bool(result.error)
    with path.open("a", encoding="utf-8", newline="") as file:

        def write(results: list[Result]) -> None:
            file.write("".join(map(form.line, results)))
            file.flush()

        yield Sink(done, failed, write)


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        return file.read() == b"\n"


@contextlib.contextmanager
def _parquet(path: Path, decision: Decision) -> Iterator[Sink]:
    names, texts = result_lines.columns(decision), ("path", "error", "labels")
    schema = pa.schema([(name, pa.string() if name in texts else pa.float32()) for name in names])
    done, failed = set(), 0
    with replacing(path) as scratch, pq.ParquetWriter(scratch, schema) as writer:
        if path.exists():
            with _whole_parquet(path) as old:
                if old.schema_arrow.names != names:
                    raise FormatError("its columns are others")
                for batch in old.iter_batches():
                    for result, labels in _rows(batch):
                        done.add(_same(result, labels, decision).path)
                        failed += bool(result.error)
                    writer.write_batch(batch.cast(schema))

        def write(results: list[Result]) -> None:
            writer.write_batch(_batch(results, decision, schema))

        yield Sink(done, failed, write)


def _whole_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except pa.ArrowException:
        raise FormatError("it is no whole Parquet file") from None


def _batch(results: list[Result], decision: Decision, schema: pa.Schema) -> pa.RecordBatch:
    """Results as Arrow: nothing instead of scores where an image could not be read."""
    unread = np.array([bool(result.error) for result in results])
    scores = np.stack([result.scores for result in results])
    texts = [
        [result.path for result in results],
        [result.error for result in results],
        [result_lines.joined(decision, result) for result in results],
    ]
    columns = [pa.array(column, pa.float32(), mask=unread) for column in scores.T]
    return pa.record_batch([*(pa.array(text, pa.string()) for text in texts), *columns], schema=schema)


def _rows(batch: pa.RecordBatch) -> Iterator[tuple[Result, str]]:
    path, error, labels = (batch.column(number).to_pylist() for number in range(3))
    scores = np.stack([column.to_numpy(zero_copy_only=False) for column in batch.columns[3:]], 1).astype(np.float32)
    for row in range(batch.num_rows):
        yield Result(path[row], error[row], scores[row]), labels[row]


def _same(result: Result, labels: str, decision: Decision) -> Result:
    if result_lines.joined(decision, result) != labels:
        raise FormatError(f"the labels of {result.path!r} come from other thresholds")
    return result
