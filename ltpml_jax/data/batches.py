"""What a batch is made of: records, a part of its places, augmentation by position; no threads and no reading ahead."""

import functools
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ltpml_jax.data import augment
from ltpml_jax.data.sampler import EpochOrders
from ltpml_jax.errors import UserError

Batch = dict[str, np.ndarray]
_AUGMENTATION = 3  # keeps these streams apart from the sampler's
_MOST_SKIPPED = 100  # unreadable images in a row: more mean that the dataset as a whole is lost


class RecordSource(Protocol):
    """Random access to {"image": bytes, "index": int, "id": str, "labels": int8 [C]}; picklable."""

    def __len__(self) -> int:
        """Number of records."""
        ...

    def __getitem__(self, row: int, /) -> Mapping[str, Any]:
        """The record of a row."""
        ...


class LabelTable(Protocol):
    """Labels [N, C] of which some rows are asked for at a time."""

    shape: Any

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """int8 [n, C]."""
        ...


@dataclass(frozen=True)
class AugmentSpec:
    """From an encoded training image to its pixels."""

    image_size: int  # side of the result, in pixels
    crop: tuple[float, float]  # range of the crop's sides, as shares of the image's
    crop_ratio: tuple[float, float]  # range of the crop's width / height
    flip: float  # probability of mirroring
    resize: augment.Resize  # a value of augment.RESIZES


def _pixels(record: Mapping[str, Any], resize: augment.Resize, crop: augment.Crop, size: int) -> np.ndarray:
    try:
        return resize(record["image"], crop, size)
    except ValueError as error:
        raise UserError(
            f"image {record['id']!r} (index {record['index']}) cannot be decoded: {error}; prepare the dataset again, "
            "or leave such images out with config.data.unreadable=skip."
        ) from error


def _record(records: RecordSource, row: int) -> Mapping[str, Any]:
    try:
        return records[row]
    except (IndexError, UserError):
        raise
    except Exception as error:  # ArrayRecord and protobuf raise kinds of their own
        raise UserError(
            f"record {row} of {records!r} cannot be read: {error}; prepare the dataset again, "
            "or leave such images out with config.data.unreadable=skip."
        ) from error


@dataclass(frozen=True)
class BatchPart:
    """Which places of every batch this process makes, and what it does where an image cannot be read."""

    size: int  # of the batch, over all processes
    places: slice
    skip: bool  # leave unreadable images out (True), or raise UserError

    def __len__(self) -> int:
        """Number of places."""
        return self.places.stop - self.places.start


@dataclass(frozen=True)
class TrainBatch:
    """Number of a batch -> a part of it; a class, so that worker processes can be sent it.

    Whole parts are the unit of work: each image is copied to its place while the cache still holds it.
    """

    records: RecordSource
    table: LabelTable
    order: EpochOrders
    spec: AugmentSpec
    part: BatchPart
    seed: int

    def __call__(self, number: int) -> Batch:
        """The part of a batch."""
        first, side = number * self.part.size, self.spec.image_size
        batch = blank_train(len(self.part), side, self.table.shape[1])
        for place in range(len(self.part)):
            position = first + self.part.places.start + place
            row, record, image, batch["unreadable"][place] = self._readable(position)
            batch["image"][place] = image
            batch["index"][place] = row
            # A CRC, as a cryptographic hash of the pixels takes a fifth of the time of decoding them.
            note = f"{record['id']}\n{zlib.crc32(batch['image'][place].data)}\n".encode()
            batch["note"][place] = np.frombuffer(hashlib.blake2b(note, digest_size=16).digest(), np.uint8)
        batch["states"][:] = self.table[batch["index"].astype(np.int64)]
        return batch

    def _readable(self, position: int) -> tuple[int, Mapping[str, Any], np.ndarray, int]:
        """(row, record, pixels, -1); or, skipping, those of the next position that works, and the row that did not."""
        epoch, offset = divmod(position, self.order.length)
        unreadable, tries = -1, min(self.order.length, _MOST_SKIPPED) if self.part.skip else 1
        for ahead in range(tries):
            row = self.order[epoch * self.order.length + (offset + ahead) % self.order.length]
            try:
                record = _record(self.records, row)
                return row, record, self._image(record, position), unreadable
            except UserError:
                if ahead == tries - 1:
                    raise
                unreadable = row if unreadable < 0 else unreadable
        raise AssertionError("an epoch has at least one image")

    def _image(self, record: Mapping[str, Any], position: int) -> np.ndarray:
        spec, key = self.spec, np.random.SeedSequence((self.seed, _AUGMENTATION, position))
        rng = np.random.Generator(np.random.Philox(key))
        crop = functools.partial(augment.draw_crop, rng=rng, sides=spec.crop, ratio=spec.crop_ratio)
        return augment.flip(_pixels(record, spec.resize, crop, spec.image_size), rng, spec.flip)


def blank_train(size: int, side: int, classes: int) -> Batch:
    """A batch's part of zeros: what `train_loader` fills, and what stands in where it cannot."""
    return {
        "image": np.zeros((size, side, side, 3), np.uint8),
        "index": np.zeros(size, np.int32),
        "states": np.zeros((size, classes), np.int8),
        "note": np.zeros((size, 16), np.uint8),
        "unreadable": np.full(size, -1, np.int32),
    }


def digest(notes: np.ndarray) -> bytes:
    """What a batch is recognised by, 16 bytes, from the notes uint8 [B, 16] on its images."""
    return hashlib.blake2b(np.ascontiguousarray(notes).data, digest_size=16).digest()


@dataclass(frozen=True)
class InOrder:
    """Number of a batch -> a part of it: rows in order, resized only."""

    records: RecordSource
    rows: np.ndarray
    part: BatchPart
    image_size: int
    resize: augment.Resize

    def __call__(self, number: int) -> Batch:
        """The part of a batch."""
        batch = blank_in_order(len(self.part), self.image_size)
        for place in range(len(self.part)):
            position = number * self.part.size + self.part.places.start + place
            if position < len(self.rows):  # the end of the last batch stays blank
                batch["mask"][place] = self._fill(batch["image"][place], int(self.rows[position]))
        return batch

    def _fill(self, image: np.ndarray, row: int) -> bool:
        try:
            image[:] = _pixels(_record(self.records, row), self.resize, augment.whole, self.image_size)
        except UserError:
            if not self.part.skip:
                raise
            return False
        return True


def blank_in_order(size: int, side: int) -> Batch:
    """A part of an evaluation's batch without images."""
    return {"image": np.zeros((size, side, side, 3), np.uint8), "mask": np.zeros(size, bool)}
