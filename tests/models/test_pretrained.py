"""Backbone files: round trip, and every way of not fitting named."""

import functools
import hashlib
import logging
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from ltpml_jax.errors import UserError
from ltpml_jax.models import classifier, pretrained
from tests.helpers import weights
from tests.models.test_layers import randomise
from tests.models.test_torch_files import checkpoint

SPEC = classifier.ModelSpec("resnet_small", 64, 0.0, 1, "stored", "float32", True, True)


@pytest.fixture(autouse=True, scope="module")
def backbones_are_traced_once():
    """Those that a file is compared with to name what it fits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrained, "abstract_backbone", functools.cache(pretrained.abstract_backbone))
        yield


@functools.cache
def _drawn(seed: int) -> classifier.Classifier:
    with weights.from_numpy():
        model = classifier.build(SPEC, 20, seed)
    randomise(model, seed)
    return model


def _model(seed: int) -> classifier.Classifier:
    """A model of one's own: to trace one takes as long as most of these tests."""
    return nnx.clone(_drawn(seed))


def _refused(model, path: Path) -> str:
    """The sentence with which a file is refused, after checking that it left the model as it was."""
    before = jax.tree.map(np.array, nnx.state(model))
    with pytest.raises(UserError) as caught:
        pretrained.load_backbone(model, path)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(model), before)
    return str(caught.value)


def test_round_trip_changes_the_backbone_only(tmp_path: Path) -> None:
    source, target, path = _model(0), _model(1), tmp_path / "backbone.safetensors"
    head = np.array(target.head.kernel[...])
    digest = pretrained.save_backbone(source, path)
    assert pretrained.load_backbone(target, path) == digest == hashlib.sha256(path.read_bytes()).hexdigest()
    jax.tree.map(np.testing.assert_array_equal, nnx.state(target.backbone), nnx.state(source.backbone))
    np.testing.assert_array_equal(target.head.kernel[...], head)


def test_equal_weights_give_equal_bytes(tmp_path: Path) -> None:
    assert pretrained.save_backbone(_model(0), tmp_path / "a") == pretrained.save_backbone(_model(0), tmp_path / "b")
    assert pretrained.save_backbone(_model(1), tmp_path / "c") != pretrained.save_backbone(_model(0), tmp_path / "a")


def test_keys_and_layout(tmp_path: Path) -> None:
    pretrained.save_backbone(_model(0), tmp_path / "a")
    tensors = load_file(tmp_path / "a")
    assert tensors["layer2.0.conv1.kernel"].shape == (3, 3, 16, 32)
    assert tensors["layer2.0.downsample.1.var"].shape == (32,)
    assert len(tensors) == 5 * 12
    assert (tmp_path / "a").stat().st_size < 1e6


def test_every_misfit_is_named_in_one_error(tmp_path: Path) -> None:
    path, model = tmp_path / "a", _model(0)
    pretrained.save_backbone(model, path)
    tensors = load_file(path)
    del tensors["conv1.kernel"], tensors["layer4.0.bn2.mean"]
    tensors["fc.kernel"] = np.zeros((96, 10), np.float32)
    tensors["bn1.bias"] = np.zeros(17, np.float32)
    tensors["bn1.scale"] = np.zeros(16, np.float64)
    save_file(tensors, path)
    message = _refused(model, path)
    assert "2 missing: conv1.kernel, layer4.0.bn2.mean;" in message
    assert "1 unexpected: fc.kernel;" in message
    assert "bn1.bias (float32[17], expected float32[16])" in message
    assert "bn1.scale (float64[16], expected float32[16])" in message


@pytest.mark.parametrize("content", [b"", b"not a safetensors file at all", b"\xff" * 64])
def test_unreadable_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match="broken.safetensors is not a readable safetensors file"):
        pretrained.load_backbone(_model(0), path)


def test_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    pretrained.save_backbone(_model(0), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="cut.safetensors is not a readable"):
        pretrained.load_backbone(_model(0), path)


def test_missing_file_and_directory(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.safetensors", tmp_path):
        with pytest.raises(UserError, match=f"cannot read the weights {path}"):
            pretrained.load_backbone(_model(0), path)


TORCH = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def _torch(model: classifier.Classifier, folder: Path, prefix: str = "") -> dict[str, np.ndarray]:
    """A state dict as torchvision would have it: other names and layouts, a classifier, counters."""
    pretrained.save_backbone(model, folder / "own.safetensors")
    found = {prefix + "fc.weight": np.zeros((10, 96), np.float32), prefix + "fc.bias": np.zeros(10, np.float32)}
    for key, array in load_file(folder / "own.safetensors").items():
        path, _, leaf = key.rpartition(".")
        moved = np.moveaxis(array, (3, 2), (0, 1)) if array.ndim == 4 else array
        found[f"{prefix}{path}.{TORCH[leaf]}"] = np.ascontiguousarray(moved)
        if leaf == "mean":
            found[f"{prefix}{path}.num_batches_tracked"] = np.ones((), np.float32)
    return found


def _assert_same_backbone(target: classifier.Classifier, source: classifier.Classifier) -> None:
    jax.tree.map(np.testing.assert_array_equal, nnx.state(target.backbone), nnx.state(source.backbone))


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_torchvision_names(tmp_path: Path, caplog: pytest.LogCaptureFixture, prefix: str, suffix: str) -> None:
    source, target, path = _model(0), _model(1), tmp_path / f"weights.{suffix}"
    tensors = _torch(source, tmp_path, prefix)
    if suffix == "pth":
        path.write_bytes(checkpoint(tensors))
    else:
        save_file(tensors, path)
    with caplog.at_level(logging.INFO):
        assert pretrained.load_backbone(target, path) == hashlib.sha256(path.read_bytes()).hexdigest()
    _assert_same_backbone(target, source)
    assert caplog.messages == [f"Left out of {path}: fc.bias, fc.weight, and 12 num_batches_tracked"]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_torch_weights_of_any_float_type_become_float32(tmp_path: Path, dtype: type) -> None:
    path, model = tmp_path / "a.safetensors", _model(0)
    save_file({key: array.astype(dtype) for key, array in _torch(_model(1), tmp_path).items()}, path)
    pretrained.load_backbone(model, path)
    kernel = model.backbone.conv1.kernel[...]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, np.asarray(_model(1).backbone.conv1.kernel[...]).astype(dtype))


def test_every_misfit_is_named_as_the_file_names_it(tmp_path: Path) -> None:
    path, model = tmp_path / "a.safetensors", _model(0)
    tensors = _torch(model, tmp_path)
    del tensors["conv1.weight"], tensors["layer4.0.bn2.running_var"]
    tensors["layer1.0.se.weight"] = np.zeros(3, np.float32)
    tensors["layer2.0.conv1.weight"] = np.zeros((32, 16, 1, 1), np.float32)
    tensors["bn1.weight"] = np.zeros(16, np.int64)
    save_file(tensors, path)
    message = _refused(model, path)
    assert "2 missing: conv1.weight, layer4.0.bn2.running_var;" in message
    assert "1 unexpected: layer1.0.se.weight;" in message
    assert "layer2.0.conv1.weight (float32[32, 16, 1, 1], expected float32[32, 16, 3, 3])" in message
    assert "bn1.weight (int64[16], expected float32[16])" in message


def test_a_damaged_checkpoint_leaves_the_model_alone(tmp_path: Path) -> None:
    path, model = tmp_path / "a.pth", _model(0)
    path.write_bytes(checkpoint(_torch(_model(1), tmp_path))[:-1000])
    before = jax.tree.map(np.array, nnx.state(model))
    with pytest.raises(UserError, match="a.pth is not a sound torch checkpoint"):
        pretrained.load_backbone(model, path)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(model), before)


def test_weights_are_checked_before_a_network_is_made(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    pretrained.save_backbone(_model(0), path)
    pretrained.check_weights(path, "resnet_small")
    with pytest.raises(UserError, match="does not fit the backbone: these are of resnet_small; give others"):
        pretrained.check_weights(path, "resnet18")
    with pytest.raises(UserError, match="hf:timm/resnet50.tv_in1k has weights of resnet50, but .*'resnet_small'"):
        pretrained.check_weights("hf:timm/resnet50.tv_in1k", "resnet_small")
