"""A file of CSV, Parquet or JSON lines as columns of text and lists of text, with the place of each row in it."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from ltpml_jax.data.readers import common
from ltpml_jax.errors import UserError

SEPARATOR = ";"
_PARQUET, _JSON = b"PAR1", b"{"  # how such files begin, whatever they are called


@dataclass(frozen=True)
class Table:
    """N rows: columns by name in the file's order, the file they come from, and which of its rows they are (all)."""

    path: str
    columns: dict[str, pa.Array]
    content: bytes
    rows: tuple[int, ...] | None = None

    def __len__(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values())))

    def take(self, rows: np.ndarray) -> "Table":
        """Some rows int64 [n], in that order."""
        columns = {name: column.take(pa.array(rows)) for name, column in self.columns.items()}
        places = rows if self.rows is None else np.array(self.rows)[rows]
        return Table(self.path, columns, self.content, tuple(places.tolist()))

    def place(self, row: int) -> str:
        """Where row 0 .. N-1 stands, for a message: the line of a CSV file, the row (from 1) of another."""
        row = row if self.rows is None else self.rows[row]
        if self.content.startswith((_PARQUET, _JSON)):
            return f"row {row + 1} of {self.path}"
        # Only called when something is wrong, so that the fast reader need not count blank lines and line breaks.
        reader = csv.reader(io.StringIO(self.content.decode("utf-8-sig"), newline=""))
        lines = (reader.line_num for record in reader if record)
        return f"line {next(line for number, line in enumerate(lines) if number == row + 1)} of {self.path}"

    def text(self, name: str) -> pa.Array:
        """A column as N strings without blanks at their ends; what is missing is empty.

        Raises:
            UserError: the column holds something that is no text, number or truth value.
        """
        column = self.columns[name]
        try:
            return pc.call_function("utf8_trim_whitespace", [pc.fill_null(pc.cast(column, pa.string()), "")])
        except pa.ArrowException as error:
            raise UserError(f"The column {name!r} of {self.path} holds {column.type}; write text there.") from error

    def lists(self, name: str) -> pa.Array:
        """A column as N lists of strings; text is cut at semicolons, or in every row a list as JSON writes one.

        Raises:
            UserError: the column holds neither text nor lists of text, or a name is missing in a list.
        """
        column = self.columns[name]
        if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
            return self._lists_of_text(name)
        names = column.type.value_type
        names = names.value_type if pa.types.is_dictionary(names) else names
        if not (pa.types.is_string(names) or pa.types.is_large_string(names)):
            raise UserError(f"The column {name!r} of {self.path} holds lists of {names}; write class names as strings.")
        if column.flatten().null_count:
            raise UserError(f"A list in the column {name!r} of {self.path} holds a null; leave it out of the list.")
        return column

    def _lists_of_text(self, name: str) -> pa.Array:
        """A column of text as lists; UserError for one cell in brackets where not all (or empty) are lists of JSON."""
        cells = self.text(name)
        texts = cells.to_pylist()
        rows = [row for row, text in enumerate(texts) if text.startswith("[") and text.endswith("]")]
        if not rows:
            return pc.call_function("split_pattern", [cells], pc.SplitPatternOptions(SEPARATOR))
        try:
            if len(rows) < sum(map(bool, texts)):
                raise ValueError
            return pa.array([json.loads(text or "[]") for text in texts], pa.list_(pa.string()))
        except (ValueError, RecursionError, pa.ArrowException):
            raise UserError(
                f"{self.place(rows[0])}: {texts[rows[0]][:60]!r} in the column {name!r} is no list of names between "
                'semicolons, and not all cells are lists of JSON (["cat", "dog"]); write all in one of the two ways.'
            ) from None


def read(path: str, flag: str = "--csv") -> Table:
    """Reads a Parquet file, JSON lines, or a CSV file, that `flag` names: UTF-8 with or without BOM, commas, a header.

    Raises:
        UserError: the file cannot be read, is neither, or two of its columns have one name.
    """
    content = common.read_bytes(path, flag)
    try:
        columns, names = _reader(content)(content)
    except (pa.ArrowException, UnicodeDecodeError, csv.Error, StopIteration, OSError) as error:
        why = " ".join(str(error).split()) or "it is empty"
        if content.startswith(_JSON):
            raise UserError(f"{path} is no file of JSON lines ({why}); correct that, or save it as CSV.") from error
        _check_widths(path, content)
        raise UserError(
            f"{path} is neither Parquet nor a UTF-8 CSV file with commas ({why}); save it as one."
        ) from error
    if len(names) == 1 and (mark := next((mark for mark in ";\t|" if mark in names[0]), "")):
        raise UserError(f"{path} has {mark!r} between its columns; save it with commas.")
    names = [common.class_name(name) for name in names]
    twice = common.first_twice(names)
    if twice is not None:
        raise UserError(f"{path} has two columns {twice!r}; rename one.")
    if "" in names:
        raise UserError(
            f"Column {names.index('') + 1} of {path} has no name; name it, or take it out (of an index of pandas: "
            "to_csv with index=False)."
        )
    return _filled(Table(path, dict(zip(names, columns, strict=True)), content))


def _filled(table: Table) -> Table:
    """The table without rows in which no cell holds anything, as spreadsheets leave them below the last one."""
    first, *others = table.columns
    if not (empty := _empty(table, first)).any():
        return table
    for name in others:
        empty &= _empty(table, name)
    return table.take(np.flatnonzero(~empty))


def _empty(table: Table, name: str) -> np.ndarray:
    """Which cells bool [N] of a column are missing, or text of blanks."""
    kind = table.columns[name].type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.array(table.text(name)) == ""
    return np.array(table.columns[name].is_null())


def _check_widths(path: str, content: bytes) -> None:
    """UserError for the first row of a CSV file that has not as many fields as its header; nothing of other files."""
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        width = len(next(filter(None, reader)))
        short = next((row for row in reader if row and len(row) != width), None)
    except (UnicodeDecodeError, csv.Error, StopIteration):
        return
    if short is not None:
        raise UserError(
            f"Line {reader.line_num} of {path} has {len(short)} fields, the header {width}; fill the row in, or put "
            'quotes (") around what holds a comma.'
        ) from None


def _csv(content: bytes) -> tuple[list[pa.Array], list[str]]:
    names = next(filter(None, csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))))
    if common.first_twice(names) is not None:  # Arrow takes types by name: let the caller refuse them
        return [pa.nulls(0)] * len(names), names
    table = pyarrow.csv.read_csv(
        _file(content),
        # Rows that span two blocks are only found together if the parser expects line breaks in quotes.
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        # Everything is text: a guess of types would turn a class called 007 into 7 and NA into nothing.
        convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    )
    if table.column_names != names:  # of a quote that only one of the two takes for one
        raise pa.ArrowInvalid("its header is not one line of names")
    return _whole(table), names


def _reader(content: bytes) -> Callable[[bytes], tuple[list[pa.Array], list[str]]]:
    if content.startswith(_PARQUET):
        return _parquet
    return _json_lines if content.startswith(_JSON) else _csv


def _file(content: bytes) -> pa.BufferReader:
    """The content as a file for Arrow, in memory of Arrow's own.

    A thread of Arrow's reader may let go of the file last, and while Python ends: giving up an object of Python's then
    needs the interpreter, which ends the thread inside a destructor, and with it the process by SIGABRT.
    """
    own = pa.allocate_buffer(len(content))
    memoryview(own).cast("B")[:] = content
    return pa.BufferReader(own)


def _json_lines(content: bytes) -> tuple[list[pa.Array], list[str]]:
    table = pyarrow.json.read_json(_file(content))
    kept = pa.schema([(field.name, _as_written(field.type)) for field in table.schema])
    if kept != table.schema:
        table = pyarrow.json.read_json(_file(content), parse_options=pyarrow.json.ParseOptions(explicit_schema=kept))
    return _whole(table), table.column_names


def _as_written(kind: pa.DataType) -> pa.DataType:
    """Text for what Arrow took for a time: it would write an id 2021-03-04 as 2021-03-04 00:00:00."""
    if pa.types.is_list(kind):
        return pa.list_(_as_written(kind.value_type))
    return pa.string() if pa.types.is_timestamp(kind) else kind


def _parquet(content: bytes) -> tuple[list[pa.Array], list[str]]:
    table = pyarrow.parquet.read_table(_file(content))
    return _whole(table), table.column_names


def _whole(table: pa.Table) -> list[pa.Array]:
    return [pa.concat_arrays(column.chunks) if column.chunks else pa.array([], column.type) for column in table.columns]
