"""README.md of an exported model: what it was made from and how to run it, for people and for model hubs."""

import json
from collections.abc import Sequence
from typing import Any

from ltpml_jax import __version__
from ltpml_jax.errors import UserError
from ltpml_jax.evaluation import report
from ltpml_jax.exporting.descriptions import RESIZES
from ltpml_jax.exporting.exported_run import Exportable

FILE = "README.md"
_TIMM = """\
### timm

```python
import timm, torch
from PIL import Image

model = timm.create_model("local-dir:.", pretrained=True).eval()  # or "hf-hub:OWNER/NAME"
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
image = Image.new("RGB", (640, 480))  # yours: Image.open(FILE).convert("RGB")
with torch.inference_mode():
    probabilities = model(transform(image)[None]).sigmoid()  # [1, {classes}], in the order of label_names
```
"""
_TORCHVISION = """\
### torchvision

```python
from safetensors.torch import load_file
from torchvision.models import {backbone}

model = {backbone}(num_classes={classes}).eval()
model.load_state_dict(load_file("model.safetensors"), strict=True)
```
"""
_ONNX = """\
### onnxruntime

```python
import numpy as np, onnxruntime

check = np.load("check.npz")
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
(logits,) = session.run(["logits"], {{"images": check["images"]}})  # uint8 [n, {size}, {size}, 3], RGB, any n
assert abs(logits - check["logits"]).max() <= 1e-5 * abs(check["logits"]).max()
```
"""
_JAX = """\
### jax

Needs jax and flatbuffers.

```python
import jax, numpy as np
from jax import export

check = np.load("check.npz")
with open("model.jaxexport", "rb") as file:
    model = export.deserialize(bytearray(file.read()))
logits = model.call(check["images"])  # uint8 [n, {size}, {size}, 3], RGB, any n
probabilities = jax.nn.sigmoid(logits)  # [n, {classes}], in the order of class_names in preprocess.json
```
"""
SNIPPETS = {"timm": _TIMM, "torchvision": _TORCHVISION, "onnx": _ONNX, "stablehlo": _JAX}
_CARD = """\
---
# Add your licence here, as in `license: apache-2.0`; the export does not choose one.
library_name: {library}
pipeline_tag: image-classification
tags:
- multi-label
- long-tailed
- noisy-labels
- ltpml_jax
---

# {backbone} for {classes} classes, several an image

Trained with `ltpml_jax` {version}. Each class has a probability of its own, the sigmoid of its logit. `preprocess.json`
has the class names and how an image becomes pixels; `check.npz` has four images and the logits that they must give.

## Data and training

| | |
|---|---|
{origin}

## Test results

{results}

## Limits

- The labels that it was trained on had the noise named above.
- Rare classes are as a rule predicted worse than frequent ones; the groups head, medium and tail are classes by count.
- The probabilities are not calibrated; choose a threshold for each class on labels that you trust.
- Class frequencies in training were {counts_are}; where yours differ, so do the best thresholds.
- Pixels: training resized by {resize}. timm's transform is PIL's, with smoothing{differs}.

## Use

{snippets}"""


def card(run: Exportable, snippets: Sequence[str]) -> bytes:
    """The content of README.md, with those of SNIPPETS that are named; UserError for a damaged results.json."""
    about, values = run.about, {"size": run.size, "classes": len(run.class_names)}
    values["backbone"] = about["backbone"]
    text = _CARD.format(
        **values,
        library="timm" if "timm" in snippets else "ltpml_jax",
        version=__version__,
        origin="\n".join(f"| {name} | {_cell(value)} |" for name, value in _origin(run).items()),
        results=_results(run),
        counts_are="counted with the true labels" if about["counts_are"] == "oracle" else "estimated from noisy labels",
        resize=RESIZES.get(about["resize"], about["resize"]),
        differs="" if about["resize"] == "pillow" else ", which gives other pixels and so slightly other logits",
        snippets="\n".join(SNIPPETS[name].format(**values) for name in snippets),
    )
    return text.encode()


def _origin(run: Exportable) -> dict[str, Any]:
    about, data = run.about, run.about["dataset"]
    noise = about["candidates"]  # of a file of candidate sets, whatever that says of itself
    drawn = [f"{name} {value}" for name, value in noise.get("parameters", {}).items()]
    return {
        "dataset": f"{data['name']}, {data['training_images']} training images",
        "noise of its labels": ", ".join([noise.get("kind", "not known"), *drawn]),
        "seed of that noise": "none was drawn" if noise.get("seed") is None else noise["seed"],
        "method": about["method"],
        "seed of training": run.config.seed,
        "steps": run.step,
        "input": f"{run.size} x {run.size} pixels",
    }


def _results(run: Exportable) -> str:
    """A Markdown table of the run's results.json, in percent, or why there is none."""
    path = run.workdir / report.FILE
    if not path.exists():
        return "None yet: the run is not finished."
    try:
        tests = json.loads(path.read_text(encoding="utf-8"))["test"]
        rows = [[name, *(_number(scores.get(key)) for _, key in report.TABLE)] for name, scores in tests.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path} is damaged; remove it, and resume the run, which writes it again.") from None
    heads = ["checkpoint", *(head for head, _ in report.TABLE)]
    lines = [f"| {' | '.join(map(_cell, row))} |" for row in (heads, ["---"] * len(heads), *rows)]
    return "\n".join(["Percent, of one run with the seeds above.", "", *lines])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _cell(value: Any) -> str:
    """Text that stays in its cell, whatever it is."""
    plain = " ".join(str(value).split())
    return "".join(f"\\{letter}" if letter in "\\|`*_[]<>" else letter for letter in plain)
