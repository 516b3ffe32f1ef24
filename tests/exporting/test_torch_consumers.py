"""Exported folders in torchvision and timm; needs torch, torchvision and timm, which are not requirements."""

import json

import numpy as np
import pytest
from PIL import Image

from ltpml_jax.data import augment
from ltpml_jax.exporting import export_folder
from tests.helpers.exportables import difference, exportable

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
timm = pytest.importorskip("timm")
BACKBONES = ["resnet18", "resnet50"]


@pytest.fixture(scope="module", params=BACKBONES)
def folder(request, tmp_path_factory):
    made = tmp_path_factory.mktemp("export") / request.param
    export_folder.export(exportable(request.param, 96), made, ["timm"])
    return made


def expected(folder):
    """Input of torch [4, 3, S, S], normalised as config.json says, and the logits that it must give."""
    found = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
    with np.load(folder / "check.npz") as check:
        images, logits = check["images"], check["logits"]
    normal = (images.astype(np.float32) / 255 - np.float32(found["mean"])) / np.float32(found["std"])
    return torch.from_numpy(normal.transpose(0, 3, 1, 2).copy()), logits


def test_torchvision_loads_it_strictly(folder):
    from safetensors.torch import load_file

    model = getattr(torchvision.models, folder.name)(num_classes=6).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
    images, logits = expected(folder)
    with torch.inference_mode():
        assert difference(model(images), logits) < 1e-5


def test_timm_loads_the_folder(folder):
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images, logits = expected(folder)
    with torch.inference_mode():
        assert difference(model(images), logits) < 1e-5
    assert model.pretrained_cfg["label_names"] == list("abcdef") and model.num_classes == 6


def test_timms_transform_gives_the_pixels_of_pillow_and_others_than_opencv(folder):
    """The distance that the card speaks of, in shares of the range of pixels."""
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).resize((640, 480))
    found = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
    read = transform(image).numpy().transpose(1, 2, 0) * np.float32(found["std"]) + np.float32(found["mean"])
    raw = np.asarray(image)
    pillow = np.asarray(image.resize((96, 96), Image.Resampling.BILINEAR)) / 255
    opencv = augment.resize(raw, 96) / 255
    assert np.abs(read - pillow).max() < 1e-5
    assert 1e-3 < np.abs(read - opencv).mean() < 0.05
