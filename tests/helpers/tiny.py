"""A network that compiles in no time, for tests of what does not depend on the network: methods, runs, processes."""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ltpml_jax import photometric
from ltpml_jax.models import classifier

SIDE = 4  # of what the images are averaged to


def linear(inputs: int, outputs: int, rng: np.random.Generator) -> nnx.Linear:
    """A linear layer whose weights NumPy draws, as JAX would compile a program for each shape."""
    drawn = (rng.normal(size=(inputs, outputs)) * inputs**-0.5).astype(np.float32)
    made = nnx.eval_shape(lambda: nnx.Linear(inputs, outputs, rngs=nnx.Rngs(0)))
    nnx.update(made, {"kernel": jnp.asarray(drawn), "bias": jnp.zeros(outputs)})
    return made


def cells(images: jax.Array) -> jax.Array:
    """Images [B, H, W, 3] as numbers [B, 48]: means over SIDE x SIDE parts of each."""
    batch, height, width, _ = images.shape
    if (height, width) != (SIDE, SIDE):
        images = images.reshape(batch, SIDE, height // SIDE, SIDE, width // SIDE, 3).mean((2, 4))
    return images.reshape(batch, -1)


class Features(nnx.Module):
    """A backbone of one layer: `features` numbers of each image, [B, 1, 1, features]."""

    features, stage_features = 5, (3, 5)

    def __init__(self, number: int) -> None:
        self.layer1 = linear(SIDE * SIDE * 3, self.features, np.random.default_rng([number, 1]))

    def __call__(self, images: jax.Array, *, train: bool, mask: jax.Array | None) -> jax.Array:
        return jnp.tanh(self.layer1(cells(images)))[:, None, None]

    def stages(self, images: jax.Array, *, train: bool, mask: jax.Array | None) -> list[jax.Array]:
        return [images, self(images, train=train, mask=mask)]


class Classifier(nnx.Module):
    """One layer, with a running mean of the logits in place of BatchNorm statistics."""

    def __init__(self, classes: int, number: int) -> None:
        self.number = number
        self.layer = linear(SIDE * SIDE * 3, classes, np.random.default_rng(number))
        self.mean = nnx.BatchStat(jnp.zeros(classes))

    @property
    def backbone(self) -> Features:
        """For networks that are made of a backbone; the classifier itself has none."""
        return Features(self.number)

    def __call__(self, images: jax.Array, *, train: bool, mask: jax.Array | None, dropout_key: Any) -> jax.Array:
        logits = self.layer(cells(images))
        if train:
            counts = jnp.ones(len(images), bool) if mask is None else mask
            mean = jnp.where(counts[:, None], logits, 0).sum(0) / jnp.maximum(counts.sum(), 1)
            self.mean[...] = 0.9 * self.mean[...] + 0.1 * jax.lax.stop_gradient(mean)
        return logits


def build(spec: classifier.ModelSpec, num_classes: int, seed: int, number: int = 0, draw_backbone: bool = True) -> Any:
    """In place of `classifier.build`; whatever the spec says."""
    return Classifier(num_classes, number)


@contextlib.contextmanager
def everywhere() -> Iterator[None]:
    """All networks that a config makes are this one; give `model.pretrained` as ""."""
    with mock.patch.object(classifier, "build", build):
        yield


@contextlib.contextmanager
def plain_draws() -> Iterator[None]:
    """Colours stay, and mixup weights are uniform: distortions and a Beta draw compile longer than a step without."""
    with (
        mock.patch.object(photometric, "distort", lambda key, images, spec: images),
        mock.patch.object(jax.random, "beta", lambda key, *_: jax.random.uniform(key)),
    ):
        yield
