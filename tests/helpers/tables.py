"""Tables of own labels, written and read, for tests."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from ltpml_jax.data.listing import Listing
from ltpml_jax.data.readers import tables

NO, YES, MAYBE, UNKNOWN = 0, 1, 2, 3


def read_csv(folder: Path, content: str | bytes, unlisted: str | None = None) -> Listing:
    """What is read of a CSV file of this content, whose images lie in /photos."""
    file = folder / "labels.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return tables.read_table(str(file), "/photos", unlisted)


def read_parquet(folder: Path, columns: dict, unlisted: str | None = None) -> Listing:
    """What is read of a Parquet file of these columns, whose images lie in /photos."""
    file = folder / "labels.parquet"
    pyarrow.parquet.write_table(pa.table(columns), file)
    return tables.read_table(str(file), "/photos", unlisted)


def states_of(listing: Listing, split: str = "train") -> list:
    """The states of a split, row by row."""
    return listing.splits[split].states.tolist()
