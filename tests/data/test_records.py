"""Records, read without TFDS, which wrote them."""

import sys

import pytest
from tensorflow_datasets.proto import tf_example_pb2

from ltpml_jax.data import records
from tests.helpers import runs

READ = """
import sys
from concurrent.futures import ThreadPoolExecutor
from ltpml_jax.data import datasets

source = datasets.load("digits_mlt", sys.argv[1]).train.records
with ThreadPoolExecutor(4) as pool:
    print(len({record["id"] for record in pool.map(source.__getitem__, range(100))}))
print(sorted(name for name in sys.modules if name.startswith("tensorflow")))
"""


@pytest.mark.processes
def test_threads_that_read_import_nothing_of_tfds():
    done = runs.call([sys.executable, "-c", READ, str(runs.data_dir())])
    assert done.stdout.splitlines() == ["100", "[]"], done.stderr


def test_the_message_is_the_one_of_tensorflow():
    """Also with a field that is none of ours, in any order of the fields."""
    theirs = tf_example_pb2.Example()
    theirs.features.feature["ratio"].float_list.value.extend([0.5, -1.0])
    theirs.features.feature["id"].bytes_list.value.append("é 1".encode())
    theirs.features.feature["index"].int64_list.value.append(-(2**63))
    theirs.features.feature["positive"].int64_list.value.extend([0, 127, 128, 2**40])
    theirs.features.feature["candidate"].int64_list.SetInParent()
    ours = records._Example.FromString(theirs.SerializeToString()).features.feature
    assert sorted(ours) == ["candidate", "id", "index", "positive", "ratio"]
    assert list(ours["id"].bytes_list.value) == ["é 1".encode()]
    assert list(ours["index"].int64_list.value) == [-(2**63)]
    assert list(ours["positive"].int64_list.value) == [0, 127, 128, 2**40]
    assert not ours["candidate"].int64_list.value and not ours["ratio"].bytes_list.value
