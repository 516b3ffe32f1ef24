import sys

import pytest

from tests.helpers import runs

COMPILE = """
import jax, jax.numpy as jnp
from ltpml_jax.runtime import compile_cache
print(compile_cache.enable())
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
jax.jit(lambda x: jnp.sin(x) * 3)(jnp.ones(7))
"""


@pytest.mark.processes
def test_programs_are_kept_for_the_next_process_and_jax_s_own_setting_wins(tmp_path):
    own, other = tmp_path / "own", tmp_path / "other"
    start = lambda **names: runs.start([sys.executable, "-c", COMPILE], **names).communicate()  # noqa: E731
    out, err = start(JAX_COMPILATION_CACHE_DIR="", XDG_CACHE_HOME=str(own))
    assert out.startswith(f"{own}/ltpml_jax/compiled/"), err
    kept = {path.name for path in own.rglob("*-cache")}
    assert kept
    start(JAX_COMPILATION_CACHE_DIR="", XDG_CACHE_HOME=str(own))
    assert {path.name for path in own.rglob("*-cache")} == kept
    out, err = start(JAX_COMPILATION_CACHE_DIR=str(other), XDG_CACHE_HOME=str(tmp_path / "unused"))
    assert out.strip() == str(other) and any(other.iterdir()) and not (tmp_path / "unused").exists(), err
