"""Networks around a classifier: an offset of its logits, and a linear branch on features that are not trained.

Training a backbone on the labels of frequent classes costs rare ones: features that the frequent ones do not need are
lost. The branch keeps them: a linear layer on what all stages of the pretrained backbone give, mean and standard
deviation over places, so that it has early features (colour, texture) and late ones.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


class Offset(nnx.Module):
    """A network whose logits start at an offset float [C], which is not trained."""

    def __init__(self, network: Any, offset: jax.Array):
        """Adds the offset to what `network` returns, logits [B, C] or a tuple of them."""
        self.network, self.offset = network, nnx.Variable(offset)

    @property
    def backbone(self) -> Any:
        """The backbone of the network, for `ltpml export`."""
        return self.network.backbone

    def __call__(self, images: jax.Array, *, train: bool, mask: jax.Array | None, dropout_key: jax.Array | None) -> Any:
        """Logits float32 [B, C], or a tuple of them; arguments as of a classifier."""
        logits = self.network(images, train=train, mask=mask, dropout_key=dropout_key)
        return jax.tree.map(lambda one: one + self.offset[...][None], logits)


class FixedBranch(nnx.Module):
    """A classifier, and beside it a linear one on the pooled stages of a backbone that does not train."""

    def __init__(self, network: Any, fixed: Any, classes: int, dropout: float):
        """Puts the two together; the branch starts at 0. `fixed` is like a ResNet."""
        self.network, self.frozen = network, fixed
        width, rngs = 2 * sum(fixed.stage_features), nnx.Rngs(0)
        self.norm = nnx.BatchNorm(width, momentum=0.9, use_bias=False, use_scale=False, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)  # gets its key in the call, so that the model holds no rng state
        self.linear = nnx.Linear(width, classes, kernel_init=nnx.initializers.zeros, rngs=rngs)

    @property
    def backbone(self) -> Any:
        """The backbone that trains."""
        return self.network.backbone

    def __call__(
        self, images: jax.Array, *, train: bool, mask: jax.Array | None, dropout_key: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        """Logits float32 [B, C] of the classifier and of the branch; arguments as of a classifier."""
        keys = (None, None) if dropout_key is None else jax.random.split(dropout_key)
        stages = self.frozen.stages(images, train=False, mask=None)
        pooled = jnp.concatenate([part for stage in stages for part in _pool(stage)], 1)
        rows = None if mask is None else mask[:, None]
        features = self.norm(pooled, use_running_average=not train, mask=rows)
        features = self.dropout(features, deterministic=not train, rngs=keys[1])
        return self.network(images, train=train, mask=mask, dropout_key=keys[0]), self.linear(features)


def _pool(stage: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation over places, float32 [B, F] of [B, h, w, F]."""
    stage = stage.astype(jnp.float32)
    return stage.mean((1, 2)), stage.std((1, 2))
