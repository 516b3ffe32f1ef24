"""The same batches whatever reads them, and restored where they were left."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import grain
import numpy as np
import pytest

from ltpml_jax.data import augment, loader, sampler
from ltpml_jax.data.batches import BatchPart, digest
from ltpml_jax.data.candidates import ClassLists, LabelRows
from ltpml_jax.errors import UserError

SPEC = loader.AugmentSpec(image_size=24, crop=(0.8, 1.0), crop_ratio=(0.5, 2.0), flip=0.5, resize=augment.opencv)
PLAIN = loader.AugmentSpec(image_size=24, crop=(1.0, 1.0), crop_ratio=(0.5, 2.0), flip=0.0, resize=augment.opencv)
N, C, B = 37, 5, 6
ROOT = Path(__file__).parents[2]
STARTS = pytest.mark.processes  # for worker processes


class Pictures:
    """Records of random pixels, encoded when asked for; `broken` names a row that holds no image."""

    def __init__(self, side: int = 24, broken: int | None = None) -> None:
        self.side, self.broken = side, broken

    def __len__(self) -> int:
        return N

    def __getitem__(self, row: int) -> dict:
        encoded = cv2.imencode(".png", pixels(row, self.side)[..., ::-1])[1].tobytes()
        encoded = encoded[:60] if row == self.broken else encoded
        return {"image": encoded, "index": row, "id": f"picture-{row}", "labels": LABELS[row]}


def pixels(row: int, side: int) -> np.ndarray:
    return np.random.default_rng(row).integers(0, 256, (side, side, 3), np.uint8)


LABELS = (np.random.default_rng(0).random((N, C)) < 0.3).astype(np.int8)
LISTS = ClassLists.of(LabelRows(LABELS, np.arange(N), "negative"))
TABLE = LABELS | (np.arange(N)[:, None] % C == np.arange(C)).astype(np.int8)


def reader(
    workers=0, threads=1, seed=0, spec=SPEC, kind="class_aware", records=None, places=slice(0, B), skip=False
) -> grain.IterDataset:
    order = sampler.EpochOrders(kind, LISTS, length=4 * B, epochs=2, seed=seed)
    return loader.train_loader(
        records or Pictures(), TABLE, order, spec, BatchPart(B, places, skip), seed, workers, threads
    )


def digests(batches) -> list[str]:
    return [digest(batch["note"]).hex() for batch in batches]


@pytest.fixture(scope="module")
def expected() -> list[dict]:
    return list(reader())


def assert_equal(batches: list[dict], others: list[dict]) -> None:
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for name in batch:
            assert batch[name].dtype == other[name].dtype
            np.testing.assert_array_equal(batch[name], other[name])


def test_batches_have_the_order_the_table_and_the_types(expected):
    order = sampler.EpochOrders("class_aware", LISTS, length=4 * B, epochs=2, seed=0)
    assert len(expected) == 8
    assert np.concatenate([b["index"] for b in expected]).tolist() == [order[p] for p in range(48)]
    for batch in expected:
        assert batch["image"].shape == (B, 24, 24, 3) and batch["image"].dtype == np.uint8
        assert batch["index"].dtype == np.int32 and batch["states"].dtype == np.int8
        assert batch["note"].shape == (B, 16) and batch["note"].dtype == np.uint8
        assert (batch["unreadable"] == -1).all()
        np.testing.assert_array_equal(batch["states"], TABLE[batch["index"]])
    assert len(set(digests(expected))) == 8


def test_without_augmentation_the_pixels_are_those_of_the_record():
    for batch in reader(spec=PLAIN):
        np.testing.assert_array_equal(batch["image"], [pixels(row, 24) for row in batch["index"]])


def test_a_position_fixes_crop_and_flip():
    """As written out here; runs that were made before could not be made again if any of this changed."""
    spec = loader.AugmentSpec(20, (0.5, 1.0), (0.5, 2.0), 0.5, augment.opencv)
    order = sampler.EpochOrders("class_aware", LISTS, length=4 * B, epochs=2, seed=7)
    served = np.concatenate([batch["image"] for batch in reader(seed=7, spec=spec)])
    for position, image in enumerate(served):
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((7, 3, position))))
        while True:
            h, w = rng.integers(12, 24, endpoint=True), rng.integers(12, 24, endpoint=True)
            if 0.5 <= w / h <= 2.0:
                break
        top, left = rng.integers(0, 24 - h, endpoint=True), rng.integers(0, 24 - w, endpoint=True)
        cut = pixels(order[position], 24)[top : top + h, left : left + w]
        resized = cv2.resize(np.ascontiguousarray(cut), (20, 20), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(image, resized[:, ::-1] if rng.random() < 0.5 else resized)


def test_the_settings_of_resizing_see_the_same_crops_and_make_other_pixels():
    specs = [loader.AugmentSpec(12, (0.8, 1.0), (0.5, 2.0), 0.5, resize) for resize in augment.RESIZES.values()]
    opencv, pillow, fast = (list(reader(spec=spec)) for spec in specs)
    assert_equal(fast, opencv)  # PNG
    assert not set(digests(pillow)) & set(digests(opencv))
    np.testing.assert_allclose(opencv[0]["image"].mean((1, 2, 3)), pillow[0]["image"].mean((1, 2, 3)), atol=10)


def test_each_position_is_augmented_anew_and_every_seed_otherwise(expected):
    seen = [image for batch in expected for row, image in zip(batch["index"], batch["image"], strict=True) if row == 0]
    assert len(seen) > 2
    assert len({image.tobytes() for image in seen}) == len(seen)
    other = list(reader(seed=1))
    assert not set(digests(expected)) & set(digests(other))


def test_the_digest_depends_on_ids_and_on_pixels(expected):
    class Renamed(Pictures):
        def __getitem__(self, row: int) -> dict:
            return {**super().__getitem__(row), "id": f"other-{row}"}

    assert not set(digests(reader(records=Renamed()))) & set(digests(expected))
    assert not set(digests(reader(spec=PLAIN))) & set(digests(expected))


@pytest.mark.parametrize(
    "workers,threads", [(0, 0), (0, 4), pytest.param(1, 4, marks=STARTS), pytest.param(2, 1, marks=STARTS)]
)
def test_workers_and_threads_change_nothing(expected, workers, threads):
    iterator = iter(reader(workers, threads))
    assert_equal(list(iterator), expected)
    with pytest.raises(StopIteration):
        next(iterator)
    iterator.close()


@pytest.mark.parametrize("done", [0, 3, 4, 8])
def test_a_restored_iterator_continues_with_the_same_batches(expected, done):
    first = iter(reader(threads=2))
    for _ in range(done):
        next(first)
    state = json.loads(json.dumps(first.get_state()))
    assert state == {"next_batch": done}
    second = iter(reader(threads=1))
    second.set_state(state)
    assert_equal(list(second), expected[done:])
    assert_equal(list(first), expected[done:])  # asking for the state disturbs nothing


@pytest.mark.processes
def test_an_iterator_can_be_set_back_and_to_another_number_of_workers(expected):
    iterator = iter(reader(workers=2, threads=1))
    assert_equal([next(iterator) for _ in range(3)], expected[:3])
    iterator.set_state({"next_batch": 1})
    assert_equal([next(iterator) for _ in range(2)], expected[1:3])
    state = iterator.get_state()
    iterator.close()
    with pytest.raises(ValueError, match="closed"):
        next(iterator)
    threaded = iter(reader(threads=2))
    threaded.set_state(state)
    assert_equal(list(threaded), expected[3:])


def test_a_state_of_a_longer_run_is_refused():
    with pytest.raises(ValueError, match="no batch 9 in a run of 8"):
        iter(reader()).set_state({"next_batch": 9})


@pytest.mark.processes
@pytest.mark.parametrize("workers,count", [(0, 3), (2, 3), (2, 5)])
def test_a_fresh_process_that_parses_no_flags_continues_and_ends(expected, workers, count):
    """With workers it must end on its own too, at the end of the run and while they still read ahead."""
    code = (
        "from tests.data.test_loader import *\n"
        f"iterator = iter(reader({workers}, 2))\n"
        "iterator.set_state(json.loads(sys.argv[1]))\n"
        f"print(json.dumps(digests(next(iterator) for _ in range({count}))))\n"
        "next(iterator, None) if iterator.get_state() == {'next_batch': 8} else None\n"
    )
    command = [sys.executable, "-c", code, json.dumps({"next_batch": 3})]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)  # a hang
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == digests(expected[3 : 3 + count])
    assert "leaked" not in ended.stderr


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=STARTS)])
def test_a_damaged_image_is_named(workers):
    iterator = iter(reader(workers, 2, kind="shuffle", records=Pictures(broken=20)))
    with pytest.raises(UserError, match=r"'picture-20' \(index 20\).*prepare the dataset again, or .*skip"):
        list(iterator)
    iterator.close()


def test_the_parts_of_processes_make_up_the_batch(expected):
    parts = [list(reader(places=places)) for places in (slice(0, 1), slice(1, 4), slice(4, B))]
    joined = [{name: np.concatenate([part[name] for part in at]) for name in at[0]} for at in zip(*parts, strict=True)]
    assert_equal(joined, expected)


def test_a_skipped_image_gives_its_place_to_the_next_one():
    plain, holed = (list(reader(kind="shuffle", records=Pictures(broken=broken), skip=True)) for broken in (None, 20))
    unreadable = np.concatenate([batch["unreadable"] for batch in holed])
    index, before = (np.concatenate([batch["index"] for batch in batches]) for batches in (holed, plain))
    np.testing.assert_array_equal(unreadable, np.where(before == 20, 20, -1))
    assert (unreadable == 20).sum() >= 1 and 20 not in index
    for place in np.flatnonzero(unreadable == 20):
        epoch, offset = divmod(int(place), 4 * B)
        assert index[place] == before[epoch * 4 * B + (offset + 1) % (4 * B)]
    np.testing.assert_array_equal(index[unreadable < 0], before[unreadable < 0])
    for batch in holed:
        np.testing.assert_array_equal(batch["states"], TABLE[batch["index"]])
        assert batch["image"].reshape(B, -1).any(1).all()


def test_a_part_continues_past_images_that_are_another_processes():
    """The next image is that of the next global position, whoever's part it lies in."""
    records = Pictures(broken=20)
    whole = list(reader(kind="shuffle", records=records, skip=True))
    parts = [list(reader(kind="shuffle", records=records, skip=True, places=at)) for at in (slice(0, 3), slice(3, B))]
    joined = [{name: np.concatenate([part[name] for part in at]) for name in at[0]} for at in zip(*parts, strict=True)]
    assert_equal(joined, whole)


def test_a_dataset_of_which_nothing_can_be_read_is_an_error_even_when_skipping():
    class Broken(Pictures):
        def __getitem__(self, row: int) -> dict:
            raise RuntimeError("bad block")

    with pytest.raises(UserError, match="record .* cannot be read: bad block"):
        list(reader(records=Broken(), skip=True))


WHOLE = BatchPart(8, slice(0, 8), False)


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_evaluation_serves_every_row_once_and_masks_the_rest(threads):
    rows = np.random.default_rng(0).permutation(N)[:20]
    batches = list(loader.eval_batches(Pictures(30), rows, WHOLE, 24, threads, augment.opencv))
    assert [batch["mask"].sum() for batch in batches] == [8, 8, 4]
    assert all(batch["image"].shape == (8, 24, 24, 3) and batch["mask"].dtype == bool for batch in batches)
    image = np.concatenate([batch["image"][batch["mask"]] for batch in batches])
    np.testing.assert_array_equal(image, [augment.resize(pixels(row, 30), 24) for row in rows])


def test_evaluation_of_nothing_of_whole_batches_and_of_a_damaged_image():
    assert list(loader.eval_batches(Pictures(), np.arange(0), WHOLE, 24, 1, augment.opencv)) == []
    whole = list(loader.eval_batches(Pictures(), np.arange(16), WHOLE, 24, 1, augment.opencv))
    assert len(whole) == 2 and all(batch["mask"].all() for batch in whole)
    skipping = loader.eval_batches(
        Pictures(broken=5), np.arange(8), BatchPart(8, slice(4, 8), True), 24, 1, augment.opencv
    )
    assert [batch["mask"].tolist() for batch in skipping] == [[True, False, True, True]]
    with pytest.raises(UserError, match="picture-5"):
        list(loader.eval_batches(Pictures(broken=5), np.arange(8), WHOLE, 24, 2, augment.opencv))
