"""What the processes of one test session share: a folder, what was built in it, and how programs are compiled."""

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock

FOLDER = "LTPML_JAX_TESTS"  # the variable that hands the folder to workers and to processes that tests start
# Most of the suite's time is compiling: for the step of a small run it takes 9 s of CPU time, with XLA's fusion
# emitters 13 s, as by default 18 s; with level 0 it takes 4 s, but a step at 32 pixels 4.4 s instead of 0.5 s. LLVM
# takes a seventh less for a program that it gets whole, not in 32 parts to compile in parallel.
QUICK = (
    "--xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false"
    " --xla_cpu_parallel_codegen_split_count=1"
)


@contextlib.contextmanager
def configured(name: str, value: Any) -> Iterator[None]:
    """A setting of JAX's, for a while."""
    import jax  # after conftest.py set the variables

    before = jax.config.values[name]
    jax.config.update(name, value)
    try:
        yield
    finally:
        jax.config.update(name, before)


def least_optimised() -> contextlib.AbstractContextManager[None]:
    """Programs that run once or twice cost more to compile than to run; not for those that are called often."""
    return configured("jax_disable_most_optimizations", True)


def scratch() -> Path:
    """A folder that lives as long as the process that asked first."""
    if FOLDER not in os.environ:
        os.environ[FOLDER] = tempfile.mkdtemp(prefix="ltpml_jax_tests_")
        atexit.register(shutil.rmtree, os.environ[FOLDER], ignore_errors=True)
    return Path(os.environ[FOLDER])


def once(name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name` in scratch(), which the first to ask has made by make(folder); do not change it."""
    folder, made = scratch() / name, scratch() / f"{name}.made"
    with filelock.FileLock(scratch() / f"{name}.lock"):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of one that failed
            make(folder)
            made.touch()
    return folder
