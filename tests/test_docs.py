"""README and docs are right about fields, files, links and commands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import table
from docs import config_table
from ltpml_jax.methods.all_methods import METHODS
from tests.helpers import runs

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_page_of_config_fields_is_that_of_the_declarations():
    """`python docs/config_table.py` makes it anew."""
    assert (ROOT / "docs" / "config.md").read_text() == config_table.page()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_pages_name_exist(page):
    if page.name == "CHANGELOG.md":
        return  # it names what was there
    for name in re.findall(r"`((?:ltpml_jax|configs|launch|benchmarks|tests|docs)/[\w./-]+)`", page.read_text()):
        assert (ROOT / name).exists(), name


def test_the_runs_of_the_table_of_all_methods_are_counted():
    methods = sum(not entry.second_stage for entry in METHODS.values())
    final, tuning = 3, sum(len(rates) for _, rates in table.GRID.values())
    count = methods * len(table.LABELS) * (tuning + final)
    assert f"851 steps each: {count} runs" in (ROOT / "docs" / "results.md").read_text()


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_the_gate_runs_the_readmes_test_command():
    readme = (ROOT / "README.md").read_text()
    after = readme.split("<!-- test command -->")[1]
    command = after.split("```")[1].removeprefix("bash").strip()
    assert command.startswith("python3 -m venv .venv") and "pytest" in command
    assert "<!-- test command -->" in (ROOT / ".ci" / "run").read_text()


def one_idea() -> str:
    """README's example of a changed idea, word for word."""
    return (
        (ROOT / "README.md").read_text().split("<!-- change one idea -->")[1].split("```")[1].removeprefix("python\n")
    )


def test_the_example_is_ten_lines():
    assert len([line for line in one_idea().splitlines() if line.strip()]) <= 10


@pytest.mark.processes
def test_the_example_trains_as_it_stands(tmp_path):
    """In a folder with a configs/default.py of the user's own, which must change nothing."""
    (tmp_path / "tensorflow_datasets").symlink_to(runs.data_dir())
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "default.py").write_text("raise RuntimeError('the package must not import this')\n")
    (tmp_path / "idea.py").write_text(one_idea())
    environment = runs.environment() | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "idea.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("custom (estimated) on digits_mlt, partial rate 0.3")
    assert (tmp_path / "runs" / "everyone" / "results.json").exists()
    assert os.listdir(tmp_path / "configs") == ["default.py"]
