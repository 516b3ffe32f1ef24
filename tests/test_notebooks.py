"""The notebooks in docs/notebooks run as plain programs, from top to bottom, and end as they promise."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import runs

FOLDER = runs.ROOT / "docs" / "notebooks"
NAMES = ("own_data", "audit_and_correct", "change_one_idea")


def source(name: str) -> str:
    return (FOLDER / f"{name}.py").read_text()


def cells(name: str) -> list[str]:
    """Each with its mark, as jupytext cuts them."""
    return re.split(r"^(?=# %%)", source(name), flags=re.M)[1:]


def output(name: str, home: Path, *before: str) -> list[str]:
    """The lines that a notebook prints; its home, which goes with the test, has digits_mlt already.

    before: what stands between `python` and the notebook.
    """
    (home / "tensorflow_datasets").symlink_to(runs.data_dir())
    places = {"HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": str(runs.ROOT)}
    environment = runs.environment() | places
    command = [sys.executable, *before, str(FOLDER / f"{name}.py")]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"Everything is written to {home}/")
    return lines


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_is_whole_and_the_first_one_explains(name):
    assert source(name).startswith("# ---\n# jupyter:\n#   jupytext:\n")
    first, *rest = cells(name)
    assert first.startswith('# %% [markdown]\n"""\n# ') and f"python docs/notebooks/{name}.py" in first
    for cell in rest:
        mark, *lines = cell.rstrip().splitlines()
        assert mark in ("# %%", "# %% [markdown]")
        if mark == "# %%":
            ast.parse(cell)
        else:
            assert all(line.startswith("#") for line in lines)


def test_every_notebook_is_run_here_and_linked():
    assert {path.stem for path in FOLDER.glob("*.py")} == {*NAMES, "shapes", "command"}
    pages = "".join(path.read_text() for path in (runs.ROOT / "docs").glob("*.md"))
    assert all(f"(notebooks/{name}.py)" in pages for name in NAMES)
    assert "(docs/notebooks)" in (runs.ROOT / "README.md").read_text()


@pytest.mark.processes
def test_own_data_ends_with_labels_of_new_pictures(tmp_path):
    """Of which 138 would be right if nothing were found."""
    *_, last = output("own_data", tmp_path)
    match = re.fullmatch(r"(\d+) of 240 labels of 60 new pictures are right", last)
    assert match and int(match[1]) > 180, last


@pytest.mark.processes
def test_audit_and_correct_ends_with_fewer_wrong_labels(tmp_path):
    """100 labels out of 1920 at random would hold 6 of the wrong ones."""
    *_, example, states, last = output("audit_and_correct", tmp_path)
    assert re.fullmatch(r"For example, \w+ in train\d+\.png:", example)
    assert states in ("  was absent, is present", "  was present, is absent")
    match = re.fullmatch(r"Wrong labels: (\d+) before, (\d+) after a look at 100 of 1920", last)
    assert match and int(match[1]) - int(match[2]) > 30, last


@pytest.mark.processes
def test_change_one_idea_ends_with_two_runs_that_part_where_the_idea_comes_in(tmp_path):
    """On a network of one layer."""
    *_, published, own, score, other = output("change_one_idea", tmp_path, "-m", "tests.helpers.tiny_script")
    before, after = (ast.literal_eval(line.partition("loss by epoch ")[2]) for line in (published, own))
    assert len(before) == len(after) == 2
    assert before[0] == pytest.approx(after[0], abs=2e-4) and before[1] != after[1]
    assert re.match(r"published +test mAP \d+\.\d\d: ", score) and re.match(r"smallest_losses +test mAP \d+\.", other)
