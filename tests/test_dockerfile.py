"""launch/Dockerfile, without docker: hadolint's findings, and what its instructions ask for. It is not built here."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.helpers import runs

FILE = runs.ROOT / "launch" / "Dockerfile"
LINES = re.sub(r"\\\n\s*", "", FILE.read_text()).splitlines()  # an instruction each
STEPS = [line.split(maxsplit=1) for line in LINES if line and not line.startswith("#")]


def arguments(instruction: str) -> list[str]:
    return [rest for name, rest in STEPS if name == instruction]


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    tool = Path(sys.executable).parent / "hadolint"
    return subprocess.run([tool, "--no-color", path], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.processes
def test_hadolint_finds_nothing(tmp_path):
    done = hadolint(FILE)
    assert (done.returncode, done.stdout) == (0, "")
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd /tmp && pip install jax\n")
    assert {"DL3006", "DL3013", "DL3042"} <= set(re.findall(r"DL\d+", hadolint(tmp_path / "Dockerfile").stdout))


def test_what_is_copied_is_there_and_all_that_the_build_reads():
    copied = [name for line in arguments("COPY") for name in line.split()[:-1]]
    assert all((runs.ROOT / name).exists() for name in copied)
    project = tomllib.loads((runs.ROOT / "pyproject.toml").read_text())
    read = {project["project"]["readme"], project["tool"]["setuptools"]["dynamic"]["dependencies"]["file"][0]}
    assert read | {"pyproject.toml", "ltpml_jax", "configs", "LICENSE"} == set(copied)


@pytest.mark.processes
@pytest.mark.parametrize("extra,wanted", [("", "/opt/ltpml_jax"), ("cuda", "/opt/ltpml_jax[cuda]")])
def test_what_pip_is_asked_to_install(extra, wanted):
    """The instruction's first command by the shell that docker takes, with a stand-in for pip."""
    (line,) = arguments("RUN")
    script = f'pip() {{ for last; do :; done; echo "$last"; }}\n{line.partition(" && ")[0]}'
    done = subprocess.run(["sh", "-c", script], env={"EXTRA": extra}, capture_output=True, text=True, check=True)
    assert done.stdout == f"{wanted}\n" and arguments("WORKDIR")[0] == "/opt/ltpml_jax"


def test_it_runs_the_command_as_a_user_without_rights_on_the_oldest_python():
    project = tomllib.loads((runs.ROOT / "pyproject.toml").read_text())["project"]
    assert arguments("FROM") == [f"python:{project['requires-python'].removeprefix('>=')}-slim"]
    assert arguments("USER") == ["$UID"] and "UID=1000" in arguments("ARG") and 'EXTRA=""' in arguments("ARG")
    assert arguments("ENTRYPOINT") == ['["ltpml"]'] and "ltpml" in project["scripts"]
    assert [name for name, _ in STEPS][-4:] == ["USER", "WORKDIR", "ENTRYPOINT", "CMD"]
    assert arguments("ENV") == []  # nothing secret, and nothing else, is kept in the image
