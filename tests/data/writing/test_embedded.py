"""Building the embedded datasets: by several processes, after a kill, over what an earlier version built."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from ltpml_jax.data import datasets
from ltpml_jax.errors import UserError
from tests.helpers import runs

ADDED = ("lt_pml.json", "cooccurrence.npy", "labels-train.npy", "labels-test.npy")
LOAD = """
import hashlib, sys
from ltpml_jax.data import datasets
data = datasets.load("digits_mlt", sys.argv[1])
print(len(data.train.records), hashlib.sha256(data.train.records[7]["image"]).hexdigest())
print([name for name in ("tensorflow", "torch", "jax") if name in sys.modules])
"""


@pytest.fixture(scope="module")
def dataset() -> datasets.Dataset:
    return datasets.load("digits_mlt", str(runs.data_dir()))


@pytest.fixture
def older(tmp_path) -> Path:
    """A data folder with the dataset as an earlier version left it: images, and nothing of ours beside them."""
    data = tmp_path / "older"
    shutil.copytree(runs.data_dir(), data)
    for name in ADDED:
        (data / "digits_mlt" / "1.0.0" / name).unlink()
    return data


def load_in_two_processes(folder: Path) -> list[str]:
    command = [sys.executable, "-c", LOAD, str(folder)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return outputs


def content(data: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (data / "digits_mlt" / "1.0.0").iterdir()}


@pytest.mark.processes
def test_concurrent_builds_agree_and_leave_nothing_behind(dataset, tmp_path):
    """Not of a build that was killed either."""
    killed = tmp_path / "digits_mlt" / "incomplete.ABCDEF_1.0.0"
    killed.mkdir(parents=True)
    (killed / "half").write_text("x")
    outputs = load_in_two_processes(tmp_path)
    digest = hashlib.sha256(dataset.train.records[7]["image"]).hexdigest()
    assert outputs[0] == outputs[1] == f"1200 {digest}\n[]\n"
    assert sorted(p.name for p in (tmp_path / "digits_mlt").iterdir()) == [".lock", "1.0.0"]
    assert [p.name for p in tmp_path.iterdir()] == ["digits_mlt"]


@pytest.mark.processes
def test_what_an_earlier_version_built_is_described_once_and_kept(dataset, older):
    before = content(older)
    outputs = load_in_two_processes(older)
    assert outputs[0] == outputs[1]
    after = content(older)
    assert after.keys() == before.keys() | set(ADDED) and before.items() <= after.items()
    assert after == content(runs.data_dir())
    opened = datasets.load("digits_mlt", str(older))
    np.testing.assert_array_equal(opened.train.labels, dataset.train.labels)


def test_a_description_that_was_killed_is_written_again(older):
    folder = older / "digits_mlt" / "1.0.0"
    (folder / "labels-train.npy").write_bytes(b"half")
    (folder / "writing.lt_pml.json").write_text("{")
    datasets.load("digits_mlt", str(older))
    assert content(older) == content(runs.data_dir())


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)


def reverse(file: Path) -> None:
    records = list(ArrayRecordDataSource(str(file)))
    writer = ArrayRecordWriter(str(file), "group_size:1")
    for record in reversed(records):
        writer.write(record)
    writer.close()


@pytest.mark.parametrize(("damage", "what"), [(flip, ""), (reverse, "the records of test are out of order")])
def test_damaged_images_of_an_earlier_version_are_refused_by_name(older, damage, what):
    folder = older / "digits_mlt" / "1.0.0"
    damage(next(folder.glob("*test.array_record*")))
    with pytest.raises(UserError, match=f"{folder} is damaged .*{what}"):
        datasets.load("digits_mlt", str(older))
    assert not (folder / "lt_pml.json").exists()


def test_tfds_opens_it_without_us(dataset):
    builder = tfds.builder_from_directory(str(runs.data_dir() / "digits_mlt" / "1.0.0"))
    source = builder.as_data_source(split="test", decoders={"image": tfds.decode.SkipDecoding()})
    assert len(source) == 1000 and tuple(builder.info.features["labels"].feature.names) == dataset.class_names
    for row in (0, 999):
        record = dataset.test.records[row]
        assert source[row]["image"] == record["image"] and source[row]["index"] == row
        assert [int(j) for j in source[row]["labels"]] == np.flatnonzero(record["labels"]).tolist()
