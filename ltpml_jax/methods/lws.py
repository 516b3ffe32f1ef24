"""Learnable weight scaling (LWS): a second stage that learns one scale a class on a frozen network.

Kang et al., ICLR 2020, section 4.2 ("Decoupling Representation and Classifier for Long-Tailed Recognition"). Positive
scales cannot change the ranking within a class, and so no average precision; what they change is F1 and accuracy.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ltpml_jax.methods import losses
from ltpml_jax.methods.base import Blocks, Method, Plan
from ltpml_jax.methods.supervised import one_pass


class ScaledClassifier(nnx.Module):
    """A classifier that does not train, in evaluation mode always, and a scale [C] for its logits that does."""

    def __init__(self, frozen: Any, classes: int) -> None:
        """Starts with scales of 1."""
        self.frozen, self.scale = frozen, nnx.Param(jnp.ones(classes))

    def __call__(self, images: jax.Array, *, train: bool, mask: jax.Array | None, dropout_key: Any) -> jax.Array:
        """Logits float32 [B, C]: stored statistics and no dropout, in training too."""
        return self.scale[...][None] * self.frozen(images, train=False, mask=None, dropout_key=None)


def scaled(blocks: Blocks) -> ScaledClassifier:
    """The network: the classifier of the finished run, frozen, and its scales."""
    return ScaledClassifier(blocks.classifier(0), blocks.classes)


def lws(plan: Plan) -> Method:
    """Binary cross-entropy of the scaled logits against the observed labels, the mean."""
    plain = one_pass(lambda logits, context: losses.bce(logits, context.candidates).mean())
    return plain._replace(network=scaled)
