"""Work directories of runs that never were: the small files that other commands read, written directly."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from configs import digits_mlt
from ltpml_jax.evaluation import model_file, predictions_file
from ltpml_jax.evaluation.predictions_file import Predictions

GROUPS = {"head": [0, 1], "medium": [2, 3], "tail": [4, 5]}


def record(**changes: Any) -> dict[str, Any]:
    """A model.json of six classes, two a group."""
    return {
        "format": model_file.FORMAT,
        "ltpml_jax": "0.1.0",
        "method": "bce",
        "predictions": ["network"],
        "class_names": list("abcdef"),
        "groups": GROUPS,
        "class_counts": [200.0, 150.0, 60.0, 40.0, 9.0, 4.0],
        "counts_are": "estimated",
        "image_size": 64,
        "resize": "opencv",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "backbone": "resnet_small",
        "dataset": {"name": "toy", "training_images": 100, "states_sha256": "ab", "candidates_sha256": "cd"},
        "candidates": {"kind": "partial", "parameters": {"rate": 0.3}, "seed": 0},
        **changes,
    }


def labels(images: int = 200, seed: int = 0) -> np.ndarray:
    """States int8 [images, 6] with every class present."""
    drawn = np.random.default_rng(seed).random((images, 6)) < np.array([0.5, 0.4, 0.3, 0.2, 0.15, 0.1])
    drawn[np.arange(6) % images, np.arange(6)] = True
    return drawn.astype(np.int8)


def guesses(states: np.ndarray, skill: float, seed: int) -> np.ndarray:
    """Logits float32 of a classifier that is right the more often the more skill it has."""
    noise = np.random.default_rng((seed, 7)).normal(size=states.shape)
    return (skill * (states == 1) + noise).astype(np.float32)


def write(
    workdir: Path,
    states: np.ndarray,
    logits: np.ndarray,
    fields: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
    ids: Sequence[str] | None = None,
) -> Path:
    """A finished run: config, model, predictions, results, records of 10 steps; returns its folder."""
    workdir.mkdir(parents=True)
    config = digits_mlt.get_config("0.3")
    config.update_from_flattened_dict(dict(fields or {}))
    (workdir / "config.json").write_text(config.to_json())
    (workdir / "model.json").write_text(json.dumps(record(**(model or {}))))
    names = np.array([f"{row}.jpg" for row in range(len(states))] if ids is None else ids)
    predictions_file.save(workdir, Predictions(names, states, {"network": logits}, "last", 10))
    (workdir / "results.json").write_text("{}\n")
    lines = [{"step": step, "epoch": 0, "loss": 1.0, "loss_pass1": 1.0} for step in range(1, 11)]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return workdir
