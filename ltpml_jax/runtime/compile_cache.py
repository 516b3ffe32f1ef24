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
    """Keep compiled programs in `cache_home()`/compiled; returns the folder.

    A cache that JAX was given (JAX_COMPILATION_CACHE_DIR) stays in its place, and JAX_ENABLE_COMPILATION_CACHE=false
    keeps none. Machines with other processors that share a home get folders of their own, because programs for CPUs
    use what the processor has.
    """
    given = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]: made at run time
    if given:
        return Path(given)
    folder = cache_home() / "compiled" / hashlib.sha256(_processor().encode()).hexdigest()[:16]
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", LARGEST)
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", WORTH)
    return folder


def _processor() -> str:
    """What programs for this machine's CPU may depend on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [platform.processor()]
    known = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    return "\n".join([platform.machine(), *sorted(known)])
