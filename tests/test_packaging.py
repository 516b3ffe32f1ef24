"""The project's metadata: extras for other devices, and classifiers."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


@pytest.mark.parametrize("extra,plugin", [("cuda", "cuda13"), ("cuda12", "cuda12"), ("tpu", "tpu")])
def test_the_extras_for_devices_are_jaxs_own_in_the_range_of_the_requirements(extra, plugin):
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    (plain,) = (Requirement(line) for line in lines if line.startswith("jax>"))
    (wanted,) = (Requirement(line) for line in EXTRAS[extra])
    assert (wanted.name, wanted.extras, wanted.specifier) == ("jax", {plugin}, plain.specifier)
    assert re.search(rf"[`\[]{extra}[`\]]", (ROOT / "README.md").read_text())


def test_extras_that_are_also_in_test_have_one_range():
    both = {"onnx", "plot"}
    assert all(set(EXTRAS[name]) <= set(EXTRAS["test"]) for name in both)


def test_the_oldest_python_is_among_the_classifiers():
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert f"Programming Language :: Python :: {oldest}" in PROJECT["classifiers"]
