"""Builds the datasets that come with the package, by TFDS; a first use does it, of several processes one."""

import contextlib
import hashlib
import io
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ltpml_jax.data import digits_mlt, prepared, scenes
from ltpml_jax.data.listing import ListedSplit, Listing
from ltpml_jax.data.records import Records
from ltpml_jax.data.writing import metadata
from ltpml_jax.errors import UserError
from ltpml_jax.runtime.files import LOCK, lock

log = logging.getLogger(__name__)


def build(name: str, folder: Path) -> None:
    """Makes the dataset in DATA/NAME/VERSION where it is missing; of several processes one does, the others wait.

    One that an earlier version built has its images only; they stay, and the files of `prepared` are added.

    Raises:
        OSError: the folder cannot be written.
        UserError: images that were there are damaged.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lock(folder.parent / LOCK, wait=True):
        if not folder.exists():
            for left_over in folder.parent.glob("incomplete.*"):  # of a build that was killed: we hold the lock
                shutil.rmtree(left_over)
            started = time.monotonic()
            log.info("Building dataset %s in %s", name, folder.parents[1])
            _write_images(name, folder.parents[1])
            log.info("Built dataset %s in %.1f s", name, time.monotonic() - started)
        if not (folder / prepared.METADATA).exists():
            _describe(name, folder)


class _Scenes(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A TFDS builder of an embedded dataset; TFDS must not shuffle, so that record i has index i."""

    VERSION = tfds.core.Version(digits_mlt.VERSION)
    # Nothing is downloaded; TFDS's own look-up of checksums imports a package that it does not require.
    url_infos = None

    def _info(self) -> tfds.core.DatasetInfo:
        dataset, size = digits_mlt.EMBEDDED[self.name], scenes.IMAGE_SIZE
        features = {
            "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
            "labels": tfds.features.Sequence(tfds.features.ClassLabel(names=[spec.name for spec in dataset.classes])),
            "index": np.int64,
            "id": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=dataset.description,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        return {split: self._generate_examples(split) for split in digits_mlt.EMBEDDED[self.name].plans}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        dataset = digits_mlt.EMBEDDED[self.name]
        drawn = digits_mlt.draw_scenes(dataset.plans[split], dataset.classes, digits_mlt.SEED)
        for index, (labels, scene) in enumerate(drawn):
            example = {
                "image": digits_mlt.encode_png(scene.image),
                "labels": np.flatnonzero(labels).tolist(),
                "index": index,
                "id": f"{split}-{index:05d}",
            }
            yield index, example


class DigitsMlt(_Scenes, skip_registration=True):
    """TFDS names a dataset after its builder: digits_mlt."""


class DigitsIdentity(_Scenes, skip_registration=True):
    """The builder of digits_identity."""


def _write_images(name: str, data_dir: Path) -> None:
    """Runs TFDS, which writes to a folder `incomplete.*` and renames it when it is whole."""
    builder = {"digits_mlt": DigitsMlt, "digits_identity": DigitsIdentity}[name]
    tfds.disable_progress_bar()
    # TFDS announces on standard output, which belongs to the results; it also makes a download folder.
    with tempfile.TemporaryDirectory() as downloads, contextlib.redirect_stdout(io.StringIO()):
        builder(data_dir=str(data_dir)).download_and_prepare(download_dir=downloads, file_format="array_record")


def _describe(name: str, folder: Path) -> None:
    """Adds the files of a prepared dataset; the labels come from the records, which are all read for it."""
    dataset = digits_mlt.EMBEDDED[name]
    sizes = {split: plan.images for split, plan in dataset.plans.items()}
    try:
        splits = {
            split: _read(Records(name, str(folder), split, size, len(dataset.classes))) for split, size in sizes.items()
        }
    except Exception as error:  # protobuf and ArrayRecord each raise kinds of their own
        raise UserError(f"The dataset in {folder} is damaged ({error}); delete it to rebuild it.") from error
    shards = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*.array_record-*")}
    more = {"name": name, "plan": "", "arguments": {}, "skipped": [], "notes": [], "sha256": shards}
    metadata.write(folder, Listing(tuple(spec.name for spec in dataset.classes), splits), more)


def _read(records: Records) -> ListedSplit:
    """Ids and labels of a split; ValueError where a record is out of order."""
    read = [records[row] for row in range(len(records))]
    if [record["index"] for record in read] != list(range(len(read))):
        raise ValueError(f"the records of {records.split} are out of order")
    return ListedSplit([record["id"] for record in read], [], np.stack([record["labels"] for record in read]))
