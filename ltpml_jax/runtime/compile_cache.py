"""Compiled programs, kept on disk for the next process that needs the same ones."""

import hashlib
import os
import platform
from pathlib import Path

import jax

from ltpml_jax.runtime.files import cache_home

LARGEST = 2 * 2**30  # bytes of all programs; the ones that were not used for longest go first
WORTH = 0.1  # seconds that a program took to compile; JAX keeps those of a second, but a start has many shorter ones


def enable() -> Path:
    """Keep compiled programs in `folder("compiled")`, which is returned.

    A cache that JAX was given (JAX_COMPILATION_CACHE_DIR) stays in its place, and JAX_ENABLE_COMPILATION_CACHE=false
    keeps none.
    """
    given = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]: made at run time
    if given:
        return Path(given)
    kept = folder("compiled")
    jax.config.update("jax_compilation_cache_dir", str(kept))
    jax.config.update("jax_compilation_cache_max_size", LARGEST)
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", WORTH)
    return kept


def folder(name: str) -> Path:
    """`cache_home()`/NAME/PROCESSOR: machines with other processors may share a home, and programs use what one has."""
    return cache_home() / name / hashlib.sha256(_processor().encode()).hexdigest()[:16]


def _processor() -> str:
    """What programs for this machine's CPU may depend on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [platform.processor()]
    known = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    return "\n".join([platform.machine(), *sorted(known)])
