"""Checkpoints of Orbax: what is kept, what comes back, and what is refused."""

import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltpml_jax.errors import UserError
from ltpml_jax.runtime import checkpoints
from ltpml_jax.state import TrainState
from tests.helpers import runs

# Orbax abandons its other reads when one fails, and Python reports that when it collects them.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
IDENTITY = {"candidates": "abc", "config": "{}"}


def state(step: int, width: int = 3) -> TrainState:
    key = jax.random.key_data(jax.random.key(step))
    params = {"w": jnp.arange(width, dtype=jnp.float32) / 7 + step}
    return TrainState(
        jnp.int32(step),
        jnp.int32(0),
        key,
        params,
        {},
        {"mean": jnp.zeros(2)},
        (params,),
        {},
        {"soft": jnp.ones((4, 2))},
    )


def shapes(width: int = 3) -> TrainState:
    return jax.eval_shape(lambda: state(0, width))


def fill(workdir: Path, scores: dict[int, float | None]) -> None:
    with checkpoints.open_manager(workdir) as manager:
        for step, score in scores.items():
            checkpoints.save(manager, state(step), {"next_batch": step}, IDENTITY, score)


def steps(workdir: Path) -> list[int]:
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


def test_what_was_saved_comes_back_bit_for_bit(tmp_path):
    fill(tmp_path, {5: 1.0})
    with checkpoints.open_manager(tmp_path) as manager:
        got = checkpoints.restore(manager, checkpoints.newest(manager), shapes(), None)
    assert got.iterator == {"next_batch": 5} and got.identity == IDENTITY
    assert jax.tree.structure(got.state) == jax.tree.structure(state(5))
    for mine, theirs in zip(jax.tree.leaves(got.state), jax.tree.leaves(state(5)), strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    "scores,kept,best",
    [
        ({1: 3.0, 2: 9.0, 3: 1.0, 4: 2.0, 5: 2.5}, [2, 4, 5], 2),
        ({1: 1.0, 2: 2.0, 3: 3.0}, [2, 3], 3),
        ({1: None, 2: 5.0, 3: None, 4: None, 5: None}, [2, 4, 5], 2),
        ({1: None, 2: None, 3: None}, [2, 3], None),
    ],
)
def test_the_two_newest_and_the_best_are_kept(tmp_path, scores, kept, best):
    fill(tmp_path, scores)
    assert steps(tmp_path) == kept
    with checkpoints.open_manager(tmp_path, read_only=True) as manager:
        assert checkpoints.newest(manager) == max(scores)
        assert manager.best_step() == best


def test_the_best_stays_when_a_run_is_resumed(tmp_path):
    fill(tmp_path, {1: 9.0, 2: 1.0})
    fill(tmp_path, {3: 2.0, 4: 3.0})
    assert steps(tmp_path) == [1, 3, 4]


def test_a_half_written_checkpoint_is_not_there(tmp_path):
    fill(tmp_path, {1: 1.0, 2: 2.0})
    folder = tmp_path / "checkpoints"
    (folder / "2").rename(folder / "2.orbax-checkpoint-tmp")
    with checkpoints.open_manager(tmp_path, read_only=True) as manager:
        assert checkpoints.newest(manager) == 1
    assert (folder / "2.orbax-checkpoint-tmp").exists()  # who only reads clears nothing
    fill(tmp_path, {2: 2.0})
    assert steps(tmp_path) == [1, 2]


def test_none_are_to_be_read(tmp_path):
    with pytest.raises(UserError, match=f"no checkpoints in {tmp_path}"):
        checkpoints.open_manager(tmp_path, read_only=True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "checkpoints").mkdir()
    with (
        checkpoints.open_manager(tmp_path, read_only=True) as manager,
        pytest.raises(UserError, match="no checkpoint in .* yet"),
    ):
        checkpoints.newest(manager)


def refused(workdir: Path, width: int = 3) -> str:
    """The sentence on the checkpoint of step 2, after which that of step 1 still opens."""
    with checkpoints.open_manager(workdir, read_only=True) as manager, pytest.raises(UserError) as caught:
        checkpoints.restore(manager, 2, shapes(width), None)
    shutil.rmtree(workdir / "checkpoints" / "2")
    with checkpoints.open_manager(workdir, read_only=True) as manager:
        assert checkpoints.newest(manager) == 1
        assert int(checkpoints.restore(manager, 1, shapes(), None).state.step) == 1
    return str(caught.value)


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_array_file_is_refused(tmp_path, damage):
    fill(tmp_path, {1: 1.0, 2: 2.0})
    data = tmp_path / "checkpoints" / "2" / "state"
    for path in [path for path in data.rglob("*") if path.parent.name == "d"]:
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 0xFF
        path.unlink()
        if damage != "remove":
            path.write_bytes(raw if damage == "flip" else raw[: len(raw) // 2])
    text = refused(tmp_path)
    assert f"{tmp_path}/checkpoints/2 cannot be read" in text and "\n" not in text
    assert text.endswith("; remove that folder to use that of step 1.")


@pytest.mark.parametrize("content", [b"", b"\xff", b"[1]", b"{}", b'{"validation_mAP": "x"}', b"[" * 100_000])
def test_a_damaged_score_is_refused_where_nothing_may_be_written_and_else_set_aside(tmp_path, caplog, content):
    fill(tmp_path, {1: 1.0, 2: 2.0})
    place = tmp_path / "checkpoints" / "1"
    (place / "metrics" / "metrics").write_bytes(content)
    with pytest.raises(UserError, match=f"^The score of the checkpoint {place} .* remove that folder to use the other"):
        checkpoints.open_manager(tmp_path, read_only=True)
    assert place.is_dir()
    with checkpoints.open_manager(tmp_path) as manager:
        assert manager.all_steps() == [2] and f"It is now {tmp_path}/damaged/1.0" in caplog.text
    assert (tmp_path / "damaged" / "1.0" / "state").is_dir()


def test_of_the_only_checkpoint_no_other_is_promised(tmp_path):
    fill(tmp_path, {2: 2.0})
    shutil.rmtree(tmp_path / "checkpoints" / "2" / "iterator")
    with (
        checkpoints.open_manager(tmp_path, read_only=True) as manager,
        pytest.raises(UserError, match="it is the only one, so train again"),
    ):
        checkpoints.restore(manager, 2, shapes(), None)


@pytest.mark.parametrize("item", ["state", "iterator", "identity"])
def test_a_checkpoint_that_lacks_a_part_is_refused(tmp_path, item):
    fill(tmp_path, {1: 1.0, 2: 2.0})
    shutil.rmtree(tmp_path / "checkpoints" / "2" / item)
    assert "cannot be read" in refused(tmp_path)


def test_a_state_of_another_shape_is_refused(tmp_path):
    fill(tmp_path, {1: 1.0, 2: 2.0})
    assert "cannot be read as a state of this run" in refused(tmp_path, width=4)


def test_a_state_of_another_structure_is_refused(tmp_path):
    fill(tmp_path, {1: 1.0})
    foreign = shapes()._replace(shared={"other": jax.ShapeDtypeStruct((4, 2), jnp.float32)})
    with (
        checkpoints.open_manager(tmp_path, read_only=True) as manager,
        pytest.raises(UserError, match="cannot be read as a state of this run"),
    ):
        checkpoints.restore(manager, 1, foreign, None)


FULL_DISK = """
import resource, sys
from pathlib import Path
from ltpml_jax.runtime import checkpoints
from ltpml_jax.errors import UserError
from tests.runtime.test_checkpoints import IDENTITY, state
with checkpoints.open_manager(Path(sys.argv[1])) as manager:
    checkpoints.save(manager, state(1), {}, IDENTITY, None)
    wide = jax.device_get(state(2)._replace(params={"w": np.random.default_rng(0).normal(size=10**6)}))
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))  # no file may grow beyond it: the kernel refuses
    try:
        checkpoints.save(manager, wide, {}, IDENTITY, None)
    except UserError as error:
        print(error)
"""


@pytest.mark.processes
def test_a_checkpoint_that_finds_no_room_leaves_the_one_before_it(tmp_path):
    code = f"import jax\nimport numpy as np\n{FULL_DISK}"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=runs.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"The checkpoint of step 2 cannot be saved in {tmp_path}/checkpoints" in done.stdout
    assert "make room" in done.stdout and done.stdout.count("\n") == 1
    with checkpoints.open_manager(tmp_path) as manager:
        assert checkpoints.newest(manager) == 1
        assert int(checkpoints.restore(manager, 1, shapes(), None).state.step) == 1
