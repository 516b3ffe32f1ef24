"""Another machine for the tests of data."""

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    """gs:// served from the memory of this process, and a cache of its own."""

    class Bucket(MemoryFileSystem):
        protocol = ("gs", "gcs")
        store: dict = {}  # noqa: RUF012  (fsspec's own layout)
        pseudo_dirs: list = [""]  # noqa: RUF012
        cachable = False

        @classmethod
        def _strip_protocol(cls, path):
            return super()._strip_protocol(str(path).replace("gs://", "memory://"))

    fsspec.register_implementation("gcs", Bucket, clobber=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return "gs://bucket/data"
