"""What importing a part of the package brings with it."""

import json
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import runs
from tests.helpers.runs import ROOT
from tests.runtime.test_metrics_log import scalars

pytestmark = pytest.mark.processes

CORE = "ltpml_jax.methods.losses, ltpml_jax.methods.priors, ltpml_jax.methods.ndlp, ltpml_jax.state, ltpml_jax.step"
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "ltpml_jax").rglob("*.py")
)
HEAVY = {"cv2", "flax", "grain", "matplotlib", "orbax", "pyarrow", "scipy", "sklearn", "tensorboardX"}
HEAVY |= {"tensorflow_datasets", "torch"}
CONFIG = "--config=configs/digits_mlt.py:0.3"


def imported(statement: str, **variables: str) -> set[str]:
    """The modules of a fresh process after a statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = runs.wait_all([runs.start([sys.executable, "-c", code], **variables)])[0]
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture
def torch(tmp_path) -> tuple[str, Path]:
    """The folder of a package `torch` that can be imported, and the file that it then writes."""
    mark = tmp_path / "imported"
    (tmp_path / "packages" / "torch").mkdir(parents=True)
    (tmp_path / "packages" / "torch" / "__init__.py").write_text(
        f"import traceback\nopen({str(mark)!r}, 'a').write(''.join(traceback.format_stack()))\n"
    )
    return str(tmp_path / "packages"), mark


def test_the_functional_core_needs_no_data_mesh_or_config():
    names = imported(f"import {CORE}")
    assert "ltpml_jax.step" in names
    foreign = ("ml_collections", "grain", "tensorflow_datasets", "orbax", "clu", "cv2", "sklearn")
    unwanted = ("ltpml_jax.data", "ltpml_jax.config", "ltpml_jax.trainer", "ltpml_jax.experiment", "configs", *foreign)
    found = [name for name in names for part in unwanted if name == part or name.startswith(f"{part}.")]
    assert found == []


def test_everything_together_needs_neither_tensorflow_nor_torch_and_starts_no_backend(torch):
    """Where a package of that name could be imported."""
    packages, mark = torch
    check = "from jax._src import xla_bridge\nassert not xla_bridge._backends"
    names = imported(f"import {', '.join(MODULES)}\n{check}", PYTHONPATH=packages)
    assert set(MODULES) <= names and not mark.exists()
    assert {name.partition(".")[0] for name in names} & {"tensorflow", "torch", "torchvision", "keras"} == set()


def test_the_trainer_starts_without_what_it_needs_later():
    names = imported("import ltpml_jax.trainer")
    assert "grain" in names and not names & {"scipy", "sklearn", "tensorflow_datasets", "tensorboardX"}


def test_only_plots_need_matplotlib():
    others = [name for name in MODULES if not name.startswith("ltpml_jax.plotting.")]
    assert len(others) < len(MODULES)
    assert "matplotlib" not in imported(f"import {', '.join(others)}")


def after(words: list[str], status: int) -> set[str]:
    """The first names of all modules that a command has imported when it ends."""
    run = "left = 0\ntry:\n    main()\nexcept SystemExit as end:\n    left = end.code"
    start = f"import sys\nfrom ltpml_jax.__main__ import main\nsys.argv = {['ltpml', *words]!r}"
    names = imported(f"{start}\n{run}\nassert left == {status}, left")
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize(
    "words,status",
    [
        (["--help"], 0),
        (["train", "--help"], 0),
        (["prepare", "--help"], 0),
        (["sweep", "--help"], 0),
        (["compare", "--help"], 0),
        (["plot", "--help"], 0),
        (["trian"], 2),
        (["sweep", "--seeds=0"], 2),
        (["compare"], 2),
        (["evaluate", "--workdri=x"], 2),
        (["prepare", "--csv=x", "--coco=y"], 2),
        (["corrupt", "--kind=single"], 2),
        (["train", "--config=nowhere.py"], 2),
    ],
)
def test_help_and_wrong_flags_import_nothing_heavy(words, status):
    assert after(words, status) & (HEAVY | {"jax", "numpy"}) == set()


@pytest.mark.parametrize(
    "words",
    [[CONFIG, "--config.data.flop=1"], [CONFIG, "--workdir=x", "--config.data.flip=2"], [CONFIG, "--workdri=x"]],
)
def test_wrong_fields_import_neither_readers_nor_writers(words):
    assert after(["train", *words], 2) & (HEAVY - {"cv2", "flax", "scipy"}) == set()


def test_corrupt_imports_neither_the_trainer_nor_jax(tmp_path):
    words = [
        "--dataset=digits_mlt",
        f"--data_dir={runs.data_dir()}",
        "--kind=single",
        f"--out={tmp_path}/x.safetensors",
    ]
    names = after(["corrupt", *words], 0)
    assert (tmp_path / "x.safetensors").exists() and "numpy" in names
    assert names & {"tensorflow_datasets", "jax", "flax", "grain", "orbax", "sklearn", "torch"} == set()


def test_an_installed_torch_would_be_seen(torch):
    packages, mark = torch
    assert "torch" in imported("import torch", PYTHONPATH=packages) and mark.exists()


def test_a_run_that_writes_events_does_not_import_an_installed_torch(torch, tmp_path):
    packages, mark = torch
    command = runs.tiny_command(tmp_path / "run", train__epochs=1, method__name="bce")
    done = runs.wait_all([runs.start(command, PYTHONPATH=packages)])[0]
    assert done.returncode == 0, done.stderr
    assert not mark.exists(), mark.read_text()
    file, end = sorted((tmp_path / "run" / "tensorboard").glob("events.out.tfevents.*"))
    assert end.name.endswith(".results")
    losses = {step: value for tag, value, step in scalars(file) if tag == "loss"}
    assert losses == {line["step"]: np.float32(line["loss"]) for line in runs.lines(tmp_path / "run") if "loss" in line}


@pytest.mark.parametrize("name", ["tensorflow", "torch"])
def test_the_check_would_see_them(name, tmp_path):
    (tmp_path / f"{name}.py").write_text("")
    assert name in imported(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport {name}")


@pytest.mark.parametrize("module", [["ltpml_jax", "prepare"], ["ltpml_jax.main"]])
def test_ctrl_c_while_the_command_line_is_imported_is_one_line(module, tmp_path):
    """Before the first library is there: one of its name that takes long to import."""
    (tmp_path / "absl").mkdir()
    waiting = f"import pathlib, time\npathlib.Path({str(tmp_path / 'begun')!r}).touch()\ntime.sleep(60)\n"
    (tmp_path / "absl" / "__init__.py").write_text(waiting)
    process = runs.start([sys.executable, "-m", *module], PYTHONPATH=str(tmp_path))
    while not (tmp_path / "begun").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "Interrupted.\n")
