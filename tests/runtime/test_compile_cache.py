import sys

import pytest

from ltpml_jax.commands.command_line import COMMANDS
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


START = """
import sys
from ltpml_jax import cli
def run(values):
    import jax
    print(jax.config.jax_compilation_cache_dir)
cli.start("some", cli.Command("Some.", lambda values: None, (), run, compiles=sys.argv[1] == "True"), [])
"""


@pytest.mark.processes
def test_a_command_that_compiles_keeps_its_programs(tmp_path):
    variables = {"JAX_COMPILATION_CACHE_DIR": "", "XDG_CACHE_HOME": str(tmp_path)}
    started = [runs.start([sys.executable, "-c", START, str(compiles)], **variables) for compiles in (True, False)]
    first, other = runs.wait_all(started)
    assert first.stdout.startswith(f"{tmp_path}/ltpml_jax/compiled/"), first.stderr
    assert str(tmp_path) not in other.stdout and other.returncode == 0, other.stderr


def test_the_commands_that_open_or_train_a_network_compile():
    compiling = {name for name, command in COMMANDS.items() if command.compiles}
    assert compiling == {"train", "evaluate", "predict", "preflight", "export", "audit", "plot"}
