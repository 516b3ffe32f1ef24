import sys

import pytest

from tests.helpers import runs

# Every import of a part of TFDS asks this finder first, whichever thread it is in and whatever it is imported for.
READ = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from ltpml_jax.data import datasets, records

class Watch:
    locked = []
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tensorflow_datasets":
            self.locked.append(records._IMPORTING.locked())

source, start = datasets.load("digits_mlt", sys.argv[1]).train.records, threading.Barrier(4)
assert "tensorflow_datasets" not in sys.modules
sys.meta_path.insert(0, Watch())

def read(row):
    start.wait()
    return source[row]["id"]

with ThreadPoolExecutor(4) as pool:
    print(len(set(pool.map(read, range(4)))), bool(Watch.locked), all(Watch.locked), records._IMPORTING.locked())
"""


@pytest.mark.processes
def test_threads_that_read_first_together_import_under_a_lock_and_do_not_wait_for_each_other():
    done = runs.call([sys.executable, "-c", READ, str(runs.data_dir())])
    assert done.stdout.split() == ["4", "True", "True", "False"], done.stderr
