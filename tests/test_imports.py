"""What importing a part of the package brings with it."""

import json
import subprocess
import sys

import pytest

from tests.runs import ROOT

CORE = "ltpml_jax.methods.losses, ltpml_jax.methods.priors, ltpml_jax.methods.ndlp, ltpml_jax.state, ltpml_jax.step"
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "ltpml_jax").rglob("*.py")
    if path.stem not in ("evaluate", "export", "corrupt", "prepare")  # programs, which share flags
)


def imported(statement: str) -> set[str]:
    """The modules of a fresh process after a statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_the_functional_core_needs_no_data_mesh_or_config():
    names = imported(f"import {CORE}")
    assert "ltpml_jax.step" in names
    foreign = ("ml_collections", "grain", "tensorflow_datasets", "orbax", "clu", "cv2", "sklearn")
    unwanted = ("ltpml_jax.data", "ltpml_jax.config", "ltpml_jax.trainer", "ltpml_jax.experiment", "configs", *foreign)
    found = [name for name in names for part in unwanted if name == part or name.startswith(f"{part}.")]
    assert found == []


def test_everything_together_needs_neither_tensorflow_nor_torch_and_starts_no_backend():
    check = "from jax._src import xla_bridge\nassert not xla_bridge._backends"
    names = imported(f"import {', '.join(MODULES)}\n{check}")
    assert set(MODULES) <= names
    assert {name.partition(".")[0] for name in names} & {"tensorflow", "torch", "torchvision", "keras"} == set()


@pytest.mark.parametrize("name", ["tensorflow", "torch"])
def test_the_check_would_see_them(name, tmp_path):
    (tmp_path / f"{name}.py").write_text("")
    assert name in imported(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport {name}")
