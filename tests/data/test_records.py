import sys

import pytest

from tests.helpers import runs

# Threads that are switched often, all with the first record of their process: without the lock of records.py, one
# such process in six waited without end.
READ = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from ltpml_jax.data import datasets
sys.setswitchinterval(1e-5)
records, start = datasets.load("digits_mlt", sys.argv[1]).train.records, threading.Barrier(4)
def read(row):
    start.wait()
    return records[row]["id"]
with ThreadPoolExecutor(4) as pool:
    print(len(set(pool.map(read, range(4)))), "tensorflow_datasets" in sys.modules)
"""


@pytest.mark.processes
@pytest.mark.parametrize("attempt", range(3))
def test_threads_that_read_first_together_do_not_wait_for_each_other(attempt):
    done = runs.call([sys.executable, "-c", READ, str(runs.data_dir())])
    assert done.stdout.split() == ["4", "True"], done.stderr
