"""Eight virtual CPU devices for every test; set before JAX starts its backends. Ranks are promoted nowhere."""

import gc
import multiprocessing.process
import os
import subprocess

import numpy.testing  # noqa: F401  (starts a process in NumPy 2.1, here before tests may not)
import pytest

from tests.helpers import session

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {session.QUICK} --xla_force_host_platform_device_count=8"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"  # to write down where each operation stands takes a tenth
gc.set_threshold(100_000, 50, 100)  # as startup.begin: most objects of imports and tracing stay
session.scratch()  # before the workers start, so that they share it


def pytest_sessionfinish():
    gc.freeze()  # pytest and Python would look for garbage once more, in all that stays


@pytest.fixture
def least_optimised():
    """`session.least_optimised`, for the tests that name it."""
    with session.least_optimised():
        yield


@pytest.fixture
def numpy_weights():
    """`weights.from_numpy`, for the tests that name it."""
    from tests.helpers import weights

    with weights.from_numpy():
        yield


@pytest.fixture(autouse=True, scope="session")
def kept_programs():
    """What is compiled here is kept as what processes of the tests compile."""
    import jax

    from tests.helpers import runs

    for name, value in runs.CACHE.items():
        jax.config.update(name, value)


@pytest.fixture(autouse=True, scope="session")
def one_device_saves():
    """Of eight devices that hold the same array, each would save an eighth, which compiles a program a shape.

    Processes that tests start have Orbax as it is.
    """
    import jax
    from orbax.checkpoint import type_handlers

    handler = type_handlers.ArrayHandler(use_replica_parallel=False)
    type_handlers.register_type_handler(jax.Array, handler, override=True)


@pytest.fixture(autouse=True)
def quick_without_the_marker(request, monkeypatch):
    """A test that starts a process or has a whole run trained has the marker: `-m "not processes"` stays quick."""
    if "processes" in request.keywords:
        return
    from ltpml_jax import trainer
    from tests.helpers import runs

    def refuse(*arguments, **options):
        raise AssertionError("mark this test with @pytest.mark.processes: it starts a process or trains a whole run")

    starts = (subprocess, "Popen"), (multiprocessing.process.BaseProcess, "start")
    for holder, name in (*starts, (trainer, "conclude"), (runs, "finished"), (runs, "eight_devices")):
        monkeypatch.setattr(holder, name, refuse)
