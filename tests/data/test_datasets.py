"""Opening datasets: order, pickling, damage."""

import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from ltpml_jax.data import datasets, digits_mlt
from ltpml_jax.errors import UserError
from tests.helpers import runs


@pytest.fixture(scope="module")
def dataset() -> datasets.Dataset:
    return datasets.load("digits_mlt", str(runs.data_dir()))


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of the data folder that a test may damage."""
    shutil.copytree(runs.data_dir(), tmp_path / "data")
    return tmp_path / "data"


def test_records_are_the_drawn_scenes_in_order(dataset):
    drawn_from = digits_mlt.EMBEDDED["digits_mlt"]
    assert dataset.class_names[:2] == ("0_warm", "0_cool") and len(dataset.class_names) == 20
    for name, split in (("train", dataset.train), ("test", dataset.test)):
        drawn = digits_mlt.draw_scenes(drawn_from.plans[name], drawn_from.classes, digits_mlt.SEED)
        assert len(split.records) == len(split.labels) == drawn_from.plans[name].images
        for position, (labels, scene) in zip(range(150), drawn, strict=False):
            record = split.records[position]
            assert record["index"] == position and record["id"] == f"{name}-{position:05d}"
            assert record["labels"].dtype == split.labels.dtype == np.int8
            np.testing.assert_array_equal(record["labels"], labels)
            np.testing.assert_array_equal(split.labels[position], labels)
            image = cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR)
            assert image is not None
            np.testing.assert_array_equal(image[..., ::-1], scene.image)


def test_records_pickle_small_and_reopen(dataset):
    first = dataset.test.records[3]
    packed = pickle.dumps(dataset.test.records)
    assert len(packed) < 1000
    again = pickle.loads(packed)
    assert len(again) == 1000 and again[3]["image"] == first["image"]
    assert len(list(again)) == 1000
    assert len(pickle.dumps(again)) < 1000  # with its files open


@pytest.mark.parametrize("position", [-1, 1200])
def test_positions_outside_the_split_are_refused(dataset, position):
    with pytest.raises(IndexError, match=str(position)):
        dataset.train.records[position]


def test_unknown_name_gets_the_nearest_one(tmp_path):
    with pytest.raises(UserError, match="'digits_identity'"):
        datasets.load("digit_identity", str(tmp_path))


def test_a_published_name_that_is_not_prepared_is_not_guessed_at(tmp_path):
    with pytest.raises(
        UserError, match="'voc_mlt' is not prepared in .*; run `ltpml prepare --dataset=voc_mlt .*--data_dir"
    ) as caught:
        datasets.load("voc_mlt", str(tmp_path))
    assert "did you mean" not in str(caught.value)
    with pytest.raises(UserError, match="did you mean 'coco_mlt'"):
        datasets.load("coco_ml", str(tmp_path))


def test_one_that_was_not_prepared_to_its_end_is_not_recommended(tmp_path):
    (tmp_path / "lt_pml" / "big").mkdir(parents=True)
    with pytest.raises(UserError, match="^The dataset 'big' in .* was not prepared to its end; the `ltpml prepare "):
        datasets.load("big", str(tmp_path))


@pytest.mark.parametrize("name", ["digits_mlt", "mine"])
def test_an_address_that_is_no_folder_is_refused(name):
    with pytest.raises(UserError, match="http://x.org"):
        datasets.load(name, "http://x.org")


def test_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/data"):
        datasets.load("digits_mlt", str(tmp_path / "file" / "data"))


def _cut(folder: Path) -> None:
    (file,) = folder.glob("*train.array_record*")
    with open(file, "r+b") as opened:
        opened.truncate(file.stat().st_size // 2)


def _flip(folder: Path) -> None:
    (file,) = folder.glob("*test.array_record*")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)


def _lose_info(folder: Path) -> None:
    (folder / "dataset_info.json").unlink()


def _lose_records(folder: Path) -> None:
    next(iter(folder.glob("*test.array_record*"))).unlink()


def _other_labels(folder: Path) -> None:
    np.save(folder / "labels-train.npy", np.zeros((1200, 10), np.int16))  # of as many bytes


@pytest.mark.parametrize("damage", [_cut, _flip, _lose_info, _lose_records, _other_labels])
def test_damaged_folder_is_refused_by_name(copy, damage):
    folder = copy / "digits_mlt" / "1.0.0"
    damage(folder)
    with pytest.raises(UserError, match=f"{folder} is damaged .*; delete that folder and it is built again"):
        datasets.load("digits_mlt", str(copy))


def test_records_that_are_fewer_than_their_labels_are_refused(dataset):
    records = dataset.train.records
    more = datasets.Records(records.name, records.folder, "train", 1201, 20)
    with pytest.raises(ValueError, match="there are 1200 records of train in .*, not 1201"):
        more[0]
