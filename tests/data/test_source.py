"""Opening datasets: order, pickling, concurrent builds, damage, no TensorFlow."""

import hashlib
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from ltpml_jax.data import digits_mlt, source
from ltpml_jax.errors import UserError

LOAD = """
import hashlib, sys
from ltpml_jax.data import source
data = source.load("digits_mlt", sys.argv[1])
print(len(data.train.records), hashlib.sha256(data.train.records[7]["image"]).hexdigest())
print([name for name in ("tensorflow", "torch", "jax") if name in sys.modules])
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, list[str]]:
    """A folder where two processes built the dataset at the same time, with what each printed."""
    folder = tmp_path_factory.mktemp("data")
    command = [sys.executable, "-c", LOAD, str(folder)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    return folder, outputs


@pytest.fixture(scope="module")
def dataset(built) -> source.Dataset:
    return source.load("digits_mlt", str(built[0]))


@pytest.fixture
def copy(built, tmp_path) -> Path:
    """A copy of the data folder that a test may damage."""
    shutil.copytree(built[0], tmp_path / "data")
    return tmp_path / "data"


def test_concurrent_builds_agree_and_leave_nothing_behind(built, dataset):
    folder, outputs = built
    digest = hashlib.sha256(dataset.train.records[7]["image"]).hexdigest()
    assert outputs[0] == outputs[1] == f"1200 {digest}\n[]\n"
    assert sorted(p.name for p in (folder / "digits_mlt").iterdir()) == [".lock", "1.0.0"]
    assert [p.name for p in folder.iterdir()] == ["digits_mlt"]


def test_records_are_the_drawn_scenes_in_order(dataset):
    builder = digits_mlt.DigitsMlt
    assert dataset.class_names[:2] == ("0_warm", "0_cool") and len(dataset.class_names) == 20
    for name, split in (("train", dataset.train), ("test", dataset.test)):
        drawn = digits_mlt.draw_scenes(builder.PLANS[name], builder.CLASSES, builder.SEED)
        assert len(split.records) == len(split.labels) == builder.PLANS[name].images
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


@pytest.mark.parametrize("position", [-1, 1200])
def test_positions_outside_the_split_are_refused(dataset, position):
    with pytest.raises(IndexError, match=str(position)):
        dataset.train.records[position]


def test_unknown_name_gets_the_nearest_one(tmp_path):
    with pytest.raises(UserError, match="'digits_identity'"):
        source.load("digit_identity", str(tmp_path))


def test_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/data"):
        source.load("digits_mlt", str(tmp_path / "file" / "data"))


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


@pytest.mark.parametrize("damage", [_cut, _flip, _lose_info, _lose_records])
def test_damaged_folder_is_refused_by_name(copy, damage):
    folder = copy / "digits_mlt" / "1.0.0"
    damage(folder)
    with pytest.raises(UserError, match=f"{folder} is damaged"):
        source.load("digits_mlt", str(copy))


def test_killed_build_is_cleared_and_built_again(built, tmp_path):
    left_over = tmp_path / "digits_mlt" / "incomplete.ABCDEF_1.0.0"
    left_over.mkdir(parents=True)
    (left_over / "half").write_text("x")
    data = source.load("digits_mlt", str(tmp_path))
    assert not left_over.exists()
    reference = source.load("digits_mlt", str(built[0]))
    assert data.train.records[11]["image"] == reference.train.records[11]["image"]
