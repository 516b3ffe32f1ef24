"""Arrays of runs that never were, of any number of classes, and all six plots of them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ltpml_jax.data.labels import LabelState, class_groups
from ltpml_jax.evaluation.metrics import average_precision
from ltpml_jax.plotting import beliefs, confusion, curves, distribution, frequency, reliability
from ltpml_jax.plotting.canvas import Plot


class Made(NamedTuple):
    """C class names; masks [C] by group; counts float [C]; test states int8 [n, C]; logits float32 [n, C]."""

    names: list[str]
    groups: dict[str, np.ndarray]
    counts: np.ndarray
    states: np.ndarray
    logits: np.ndarray


def made(classes: int, images: int = 60, most: float = 3000, name: str = "class {} of a long name") -> Made:
    """Classes that are less and less frequent; the last of several has no test positive, and some labels are open."""
    draws = np.random.default_rng(classes)
    counts = np.floor(most * np.exp(-7 * np.arange(classes) / max(classes, 2)))
    states = (draws.random((images, classes)) < np.clip(counts / 3000, 0.02, 0.5)).astype(np.int8)
    states[0] = LabelState.POSITIVE
    states[1] = LabelState.NEGATIVE
    states[2, : classes // 2] = LabelState.UNKNOWN
    if classes > 1:
        states[:, -1] = LabelState.NEGATIVE
    logits = (3 * (states == LabelState.POSITIVE) - 2 + draws.normal(size=states.shape)).astype(np.float32)
    names = [name.format(j) for j in range(classes)]
    return Made(names, class_groups(counts), counts, states, logits)


def plots(one: Made, runs: int = 1, epochs: int = 3, shared: bool = True, seed: int = 0) -> Iterator[Plot]:
    """All six, with so many runs and epochs; the two that several runs share first."""
    draws, title = np.random.default_rng(seed), "noise_model, runs/with-a-name"
    precision = average_precision(one.logits, one.states)
    labels = [f"runs/method.name=ndlp,seed={number}" for number in range(runs)]
    records = [{"epoch": epoch, "epoch_loss": 0.1 / (epoch + 1)} for epoch in range(epochs)]
    for record in records:
        record |= {field: 10 + 80 * draws.random() for field in curves.FIELDS[1:]}
    read = [curves.epochs(records[number % max(epochs, 1) :]) for number in range(runs)]
    shares = {name: one.counts / 30 * (part + 1) for part, name in enumerate(("true", "estimated", "summed"))}
    predicted = one.logits > 0
    yield frequency.plot(one.names, one.groups, one.counts, "estimated", dict.fromkeys(labels, precision))
    yield curves.plot(dict(zip(labels, read, strict=True)))
    yield distribution.plot("distribution", title, one.names, one.groups, shares)
    yield reliability.plot("reliability", title, reliability.by_group(one.logits, one.states, one.groups))
    said = "predicted is a score above the run's threshold"
    yield confusion.plot("confusion", title, one.names, predicted, one.states, said)
    yield beliefs.plot("beliefs", title, shown(one, draws), shared)


def shown(one: Made, draws: np.random.Generator) -> list[beliefs.Shown]:
    """As many images as there are classes, but no more than are drawn."""
    found = []
    for number in range(min(beliefs.IMAGES, len(one.names))):
        pixels = draws.integers(0, 255, (20 + 10 * number, 40, 3), np.uint8)
        listed = draws.random(len(one.names)) < 0.6
        listed[:2] = True
        truth = draws.random(len(one.names)) < 0.3 if number % 2 else None
        belief = draws.random(len(one.names)) / listed.sum()
        found.append(beliefs.shown(f"image {number}", pixels, one.names, belief, listed, truth))
    return found
