"""What stands beside exported weights for programs to read: preprocess.json, and timm's config.json."""

import json
from typing import Any

from ltpml_jax import __version__
from ltpml_jax.exporting.exported_run import Exportable
from ltpml_jax.exporting.onnx_graph import INPUT, OUTPUT
from ltpml_jax.exporting.torch_names import LinearOnPooled

FORMAT = 1
# How an image becomes S x S pixels, by config.data.resize; the whole image, its aspect ratio not kept.
RESIZES = {
    "opencv": "OpenCV: cv2.resize with INTER_LINEAR, which does not smooth where it shrinks",
    "pillow": "PIL: Image.resize with BILINEAR, which smooths where it shrinks",
    "fast": "OpenCV: JPEGs decoded at 1/2, 1/4 or 1/8 where they stay large enough, then cv2.resize with INTER_LINEAR",
}


def preprocess(run: Exportable) -> dict[str, Any]:
    """The content of preprocess.json: `input`, `resize`, `normalisation`, `output`, `class_names`."""
    size = run.size
    return {
        "format": FORMAT,
        "input": {"name": INPUT, "dtype": "uint8", "shape": ["batch", size, size, 3], "channels": "RGB"},
        "resize": {"size": [size, size], "name": run.about["resize"], "how": RESIZES.get(run.about["resize"], "")},
        "normalisation": {
            "formula": "(pixel / 255 - mean) / std",
            "mean": run.about["mean"],
            "std": run.about["std"],
            "inside": ["model.jaxexport", "model.onnx"],
        },
        "output": {"name": OUTPUT, "dtype": "float32", "shape": ["batch", len(run.class_names)]}
        | {"probability": "sigmoid, for each class by itself"},
        "class_names": run.class_names,
    }


def timm_config(run: Exportable, form: LinearOnPooled) -> dict[str, Any]:
    """The content of timm's config.json, and under `ltpml_jax` what timm does not ask for."""
    size, classes, backbone = run.size, len(run.class_names), run.about["backbone"]
    pretrained = {
        "architecture": backbone,
        "input_size": [3, size, size],
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "mean": run.about["mean"],
        "std": run.about["std"],
        "num_classes": classes,
        "pool_size": [-(-size // 32)] * 2,
        "first_conv": "conv1",
        "classifier": "fc",
    }
    return {
        "architecture": backbone,
        "num_classes": classes,
        "num_features": form.backbone.features,
        "global_pool": "avg",
        "label_names": run.class_names,
        "problem_type": "multi_label_classification",
        "pretrained_cfg": pretrained,
        "ltpml_jax": origin_of(run),
    }


def origin_of(run: Exportable) -> dict[str, Any]:
    """Where a model comes from: version, method, dataset, candidate sets, seed and step."""
    about = run.about
    named = {name: about[name] for name in ("method", "dataset", "candidates", "counts_are", "resize")}
    return {"version": __version__, "seed": run.config.seed, "step": run.step} | named


def as_json(record: dict[str, Any]) -> bytes:
    """Indented UTF-8; equal records give equal bytes."""
    return (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode()
