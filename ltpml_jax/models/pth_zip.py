"""torch's zip format (torch >= 1.6): a pickle and one uncompressed record for each storage.

Source: torch/serialization.py (_save, _load), the ZIP application note (local file header).
"""

import functools
import io
import struct
import zipfile
import zlib
from typing import Any

import numpy as np

from ltpml_jax.models.pth_tensors import broken, unpickle

MAGIC = b"PK\x03\x04"
_LOCAL_HEADER = struct.Struct("<26xHH")  # its last two fields: lengths of the name and of the extra field


def load(data: bytes, what: str) -> Any:
    """The object in a checkpoint, its tensors NumPy views of `data`; raises UserError (see `pth.read`).

    Nothing is unpacked to disk: records are looked up by name, so a name cannot lead anywhere.
    """
    records = _records(data, what)

    @functools.cache  # so that a storage with many tensors is checked once
    def find(key: str, dtype: np.dtype) -> memoryview:
        return _content(records, f"data/{key}", data, what)

    if "byteorder" in records and bytes(_content(records, "byteorder", data, what)) != b"little":
        raise broken(what, "it is not in little-endian byte order")
    return unpickle(bytes(_content(records, "data.pkl", data, what)), what, find)


def _records(data: bytes, what: str) -> dict[str, zipfile.ZipInfo]:
    """The records by their names below the archive's one top folder."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, EOFError) as error:
        raise broken(what, f"{error}") from error
    # torch compresses nothing, so what a file holds is no longer than the file.
    packed = [record.filename for record in records if record.compress_type != zipfile.ZIP_STORED]
    if packed or sum(record.file_size for record in records) > len(data):
        raise broken(what, "its records are compressed or overlap")
    return {record.filename.partition("/")[2]: record for record in records}


def _content(records: dict[str, zipfile.ZipInfo], name: str, data: bytes, what: str) -> memoryview:
    """A record's bytes, without copying them."""
    if (record := records.get(name)) is None:
        raise broken(what, f"it has no record {name!r}")
    try:
        header = data[record.header_offset : record.header_offset + _LOCAL_HEADER.size]
        names, extras = _LOCAL_HEADER.unpack(header)
    except struct.error as error:
        raise broken(what, f"the record {name!r} lies outside of it") from error
    start = record.header_offset + _LOCAL_HEADER.size + names + extras
    content = memoryview(data)[start : start + record.file_size]
    if zlib.crc32(content) != record.CRC:
        raise broken(what, f"the record {name!r} does not match its checksum")
    return content
