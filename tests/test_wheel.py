"""The wheel alone, outside the clone: what it installs is the package and all of it, and it trains."""

import importlib.metadata
import json
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.helpers import runs, session

pytestmark = pytest.mark.processes

FILES = ("pyproject.toml", "requirements.txt", "README.md", "LICENSE")  # that a build reads, beside the package
CONFIG = """
import ltpml_jax


def get_config(rate):
    config = ltpml_jax.default_config()
    config.data.partial_rate, config.data.validation, config.method.name = float(rate), 0.1, "bce"
    config.model.backbone, config.model.pretrained = "resnet_small", "digits_small"
    return config
"""


def call(command: list[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """A command to its end, in `folder`, and without what makes the clone importable."""
    environment = {name: value for name, value in runs.environment().items() if name != "PYTHONPATH"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def finish(command: list[str | Path], folder: Path) -> str:
    """The output of a command that ends well."""
    done = call(command, folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def isolation() -> list[str]:
    """pip's option to build with the environment's setuptools, where that is new enough; else pip fetches one."""
    system = tomllib.loads((runs.ROOT / "pyproject.toml").read_text())["build-system"]
    (wanted,) = map(Requirement, system["requires"])
    return ["--no-build-isolation"] if importlib.metadata.version(wanted.name) in wanted.specifier else []


def install(folder: Path) -> None:
    """Make `folder` a virtual environment with the wheel; the libraries are the running environment's."""
    clone = folder / "sources"  # a copy, as a build takes old files that lie in build/, and leaves some there
    shutil.copytree(runs.ROOT / "ltpml_jax", clone / "ltpml_jax", ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copyfile(runs.ROOT / name, clone / name)
    venv.create(folder, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    finish([*pip, "wheel", "--no-deps", *isolation(), f"--wheel-dir={folder}", clone], folder)
    (wheel,) = folder.glob("*.whl")
    finish([*pip, "--python", folder / "bin" / "python", "install", "--no-deps", "--no-index", wheel], folder)
    # Python reads no .pth file in a folder that one of them names, so that an editable install stays behind.
    (packages(folder) / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")


def packages(folder: Path) -> Path:
    """The site-packages of a virtual environment."""
    (found,) = folder.glob("lib/python*/site-packages")
    return found


def installed() -> Path:
    """The environment, made once a session; do not change it."""
    return session.once("wheel", install)


def files(root: Path) -> set[str]:
    """All files of a package, but for what Python compiled."""
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc"}


def test_the_wheel_has_every_file_of_the_package_and_nothing_beside_it():
    place = packages(installed())
    there = files(place / "ltpml_jax")
    assert there == files(runs.ROOT / "ltpml_jax")
    assert {"models/digits_small.safetensors", "audit/page.html", "audit/page.css", "audit/page.js"} <= there
    assert {path.name.partition("-")[0] for path in place.iterdir()} == {"ltpml_jax", "libraries.pth"}


def test_the_clone_is_out_of_reach(tmp_path):
    python = installed() / "bin" / "python"
    found = finish([python, "-c", "import ltpml_jax; print(ltpml_jax.__file__)"], tmp_path)
    assert Path(found.strip()) == packages(installed()) / "ltpml_jax" / "__init__.py"
    assert "No module named 'configs'" in call([python, "-c", "import configs"], tmp_path).stderr


def test_it_trains_by_a_config_of_the_users_own_in_an_empty_folder(tmp_path):
    (tmp_path / "mine.py").write_text(CONFIG)
    fields = [f"--config.{name}={value}" for name, value in runs.overrides(train__epochs=1).items()]
    train = [installed() / "bin" / "ltpml", "train", "--config=mine.py:0.3", "--workdir=run", *fields]
    table = finish(train, tmp_path)
    assert table.startswith("bce (estimated) on digits_mlt, partial rate 0.3: 1000 test images")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert 5 < results["test"]["last (epoch 1)"]["mAP_total"] < 100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.py", "run"]
