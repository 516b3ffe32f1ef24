"""Builds the datasets that come with the package; a first use does it, of several processes one."""

import contextlib
import io
import logging
import shutil
import tempfile
import time
from pathlib import Path

import tensorflow_datasets as tfds

from ltpml_jax.data import digits_mlt
from ltpml_jax.runtime.files import LOCK, lock

log = logging.getLogger(__name__)
EMBEDDED: dict[str, type[tfds.core.GeneratorBasedBuilder]] = {
    "digits_mlt": digits_mlt.DigitsMlt,
    "digits_identity": digits_mlt.DigitsIdentity,
}


def folder_of(name: str, data_dir: str) -> Path:
    """Where the embedded dataset `name` lies below `data_dir`."""
    return Path(data_dir).expanduser() / name / str(EMBEDDED[name].VERSION)


def build(name: str, data_dir: str) -> None:
    """Builds the dataset where it is missing; of several processes one builds and the others wait for it.

    Raises OSError where the folder cannot be written.
    """
    folder = folder_of(name, data_dir)
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lock(folder.parent / LOCK, wait=True):
        if folder.exists():
            return
        for left_over in folder.parent.glob("incomplete.*"):  # of a build that was killed: we hold the lock
            shutil.rmtree(left_over)
        started = time.monotonic()
        log.info("Building dataset %s in %s", name, data_dir)
        _prepare(name, str(folder.parents[1]))
        log.info("Built dataset %s in %.1f s", name, time.monotonic() - started)


def _prepare(name: str, data_dir: str) -> None:
    """Runs TFDS, which writes to a folder `incomplete.*` and renames it when it is whole."""
    tfds.disable_progress_bar()
    # TFDS announces on standard output, which belongs to the results; it also makes a download folder.
    with tempfile.TemporaryDirectory() as downloads, contextlib.redirect_stdout(io.StringIO()):
        builder = EMBEDDED[name](data_dir=data_dir)
        builder.download_and_prepare(download_dir=downloads, file_format="array_record")
