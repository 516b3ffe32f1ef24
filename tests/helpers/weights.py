"""Initial weights that NumPy draws: the program that draws a ResNet's takes longer to compile than most tests take."""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax
import numpy as np
from flax import nnx

from ltpml_jax.models import classifier


@contextlib.contextmanager
def from_numpy() -> Iterator[None]:
    """Classifiers that are built inside have other weights than those built outside."""
    with mock.patch.object(classifier, "_initial_state", drawn):
        yield


def drawn(backbone: str, sizes: tuple[int, int, int], skipped: int, key: jax.Array) -> dict[str, nnx.State]:
    """As `classifier._initial_state`."""
    if isinstance(key, jax.core.Tracer):  # only shapes are asked for
        return INITIAL_STATE(backbone, sizes, skipped, key)
    shapes = jax.eval_shape(lambda key: INITIAL_STATE(backbone, sizes, skipped, key), key)
    return filled(shapes, np.asarray(jax.random.key_data(key)))


def filled(shapes: Any, seed: Any) -> Any:
    """A tree of shapes as float32 arrays, by the names in their paths."""
    rng = np.random.default_rng(seed)
    return jax.tree.map_with_path(lambda path, leaf: draw(path, leaf, rng), shapes)


def draw(path: tuple, leaf: jax.ShapeDtypeStruct, rng: np.random.Generator) -> jax.Array:
    """Kernels by the root of what they sum over; variances and scales 1, biases and means 0."""
    name = jax.tree_util.keystr(path)
    if "kernel" not in name:
        return jax.device_put(np.full(leaf.shape, float("scale" in name or "var" in name), np.float32))
    return jax.device_put(rng.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape).astype(np.float32))


INITIAL_STATE = classifier._initial_state
