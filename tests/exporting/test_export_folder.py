"""The folder: which files, what is refused, all or nothing, equal bytes; and its README's snippets, run."""

import importlib.util
import io
import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from ltpml_jax.errors import UserError
from ltpml_jax.exporting import export_folder
from tests.helpers import runs
from tests.helpers.exportables import difference, exportable, thin

pytestmark = pytest.mark.usefixtures("least_optimised")

COMMON = {"README.md", "preprocess.json", "check.npz"}
HAS_ONNX = importlib.util.find_spec("onnx") is not None
ONNX = {"model.onnx"} if HAS_ONNX else set()


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_everything_that_can_be_made_is_made(tmp_path):
    found = export_folder.export(thin(), tmp_path / "out")
    assert set(found) == names(tmp_path / "out") == COMMON | ONNX | {
        "model.safetensors", "config.json", "model.jaxexport"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("formats", "files"),
    [
        (["timm"], {"model.safetensors", "config.json"}),
        (["safetensors"], {"model.safetensors"}),
        (["stablehlo"], {"model.jaxexport"}),
    ],
)
def test_only_what_was_asked_for_is_made(tmp_path, formats, files):
    export_folder.export(thin(), tmp_path, formats)
    assert names(tmp_path) == COMMON | files


def test_the_small_backbone_is_no_architecture_of_timm(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "ltpml_jax"):
        export_folder.export(exportable(), tmp_path / "out")
    assert names(tmp_path / "out") == COMMON | ONNX | {"model.safetensors", "model.jaxexport"}
    assert "Left out timm: timm has no architecture resnet_small; give --formats=safetensors,stab" in caplog.text
    with pytest.raises(UserError, match="^timm has no architecture resnet_small"):
        export_folder.export(exportable(), tmp_path / "timm", ["timm"])


def test_several_networks_are_stablehlo_alone(tmp_path, caplog):
    run = exportable(method__name="noise_model", size=32)
    with caplog.at_level(logging.INFO, "ltpml_jax"):
        export_folder.export(run, tmp_path / "out")
    assert names(tmp_path / "out") == COMMON | {"model.jaxexport"}
    sentence = "The prediction of this 'noise_model' run is not one ResNet with a linear layer on it, which is all that"
    assert caplog.text.count(sentence) == 1
    for name in ("timm", "safetensors", "onnx"):
        with pytest.raises(UserError, match=f"^{sentence} .* give --formats=stablehlo.$"):
            export_folder.export(run, tmp_path / "no", ["stablehlo", name])
    assert names(tmp_path) == {"out"}


def test_without_onnx_it_is_named_with_its_install_command(tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx" else found(name))
    export_folder.export(thin(), tmp_path / "out", ["safetensors"])
    with pytest.raises(UserError, match=r'is not installed: pip install "ltpml_jax\[onnx\]".$'):
        export_folder.export(thin(), tmp_path / "no", ["onnx"])


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"^There is no format 'onx'; choose of timm, safe.* \(nearest: onnx\)\.$"):
        export_folder.export(thin(), tmp_path / "out", ["timm", "onx"])


def test_a_folder_with_something_in_it_stays_as_it_is(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(UserError, match="is not empty; give an --out that does not exist yet, or remove it"):
        export_folder.export(thin(), tmp_path)
    with pytest.raises(UserError, match=r"mine\.txt is no folder; give an --out"):
        export_folder.export(thin(), tmp_path / "mine.txt")
    assert names(tmp_path) == {"mine.txt"} and (tmp_path / "mine.txt").read_text() == "kept"


def test_an_empty_folder_gets_the_files_where_it_is_and_a_link_leads_to_its_own(tmp_path, monkeypatch):
    for name in ("here", "behind"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("behind")
    monkeypatch.chdir(tmp_path / "here")
    files = set(export_folder.export(thin(), Path("."), ["safetensors"]))
    export_folder.export(thin(), tmp_path / "link", ["safetensors"])
    assert {path.name for path in Path(".").iterdir()} == names(tmp_path / "behind") == files
    assert (tmp_path / "link").is_symlink() and names(tmp_path) == {"here", "behind", "link"}


def test_what_cannot_be_written_is_named_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=rf"^The folder {tmp_path}/file/a/out cannot be written \(Not a directory\)"):
        export_folder.export(thin(), tmp_path / "file" / "a" / "out", ["safetensors"])
    assert names(tmp_path) == {"file"}


def test_logits_that_are_not_finite_are_refused(tmp_path):
    run = thin()
    model = nnx.clone(run.model)
    model.head.bias[...] = np.full(6, np.nan, np.float32)
    with pytest.raises(UserError, match="gives logits that are not finite"):
        export_folder.export(run._replace(model=model), tmp_path / "out", ["safetensors"])
    assert names(tmp_path) == set()


def test_a_second_export_has_equal_bytes(tmp_path):
    for folder in ("a", "b"):
        export_folder.export(thin(), tmp_path / folder)
    for name in names(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_the_check_holds_pixels_and_logits_without_pickles(tmp_path):
    run = thin()
    export_folder.export(run, tmp_path, ["safetensors"])
    with np.load(io.BytesIO((tmp_path / "check.npz").read_bytes()), allow_pickle=False) as check:
        images, logits = check["images"], check["logits"]
    assert images.shape == (4, 40, 40, 3) and images.dtype == np.uint8 and logits.dtype == np.float32
    assert difference(logits, jax.jit(run.logits)(images)) < 1e-6
    assert len(np.unique(images[0])) > 200 and len(np.unique(logits, axis=0)) == 4
    about = json.loads((tmp_path / "preprocess.json").read_text())
    assert about["class_names"] == list("abcdef") and about["resize"]["size"] == [40, 40]
    assert about["input"]["shape"] == ["batch", 40, 40, 3]


@pytest.mark.processes
@pytest.mark.parametrize("title", ["jax", "onnxruntime"])
def test_the_readmes_snippets_run_in_the_folder(tmp_path, title):
    if title == "onnxruntime":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    export_folder.export(thin(), tmp_path, ["onnx" if title == "onnxruntime" else "stablehlo"])
    section = (tmp_path / "README.md").read_text().split(f"### {title}\n")[1]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    code += "\nassert abs(logits - check['logits']).max() <= 1e-5 * abs(check['logits']).max()\n"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=runs.environment(), check=True, timeout=300)
