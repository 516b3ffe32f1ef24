"""The input benchmark, at a tiny size."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes
ROOT = Path(__file__).parents[1]
TINY = ("--images=64", "--passes=1", "--rounds=1", "--width=80", "--height=60", "--size=24")


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks.input", "--busy", *TINY, *arguments]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=120
    ).stdout


def test_the_table_has_a_ratio_to_the_limit_for_every_setting():
    rows = [line for line in run().splitlines() if line.startswith(("decoding alone", "ours"))]
    assert [row[:26].strip() for row in rows] == [
        "decoding alone", "ours opencv", "ours pillow", "ours fast", "ours opencv + distortion",
    ]  # fmt: skip
    assert all(float(row[26:36]) > 0 for row in rows) and float(rows[0][36:54]) == 1


def test_overlap_says_what_input_adds():
    assert "with input:" in run("--overlap")
