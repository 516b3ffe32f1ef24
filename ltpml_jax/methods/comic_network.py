"""The network of COMIC: three branches, of head, tail and balanced, that attention joins.

Equations 8 to 10 of the paper with the constants of its released code. B batch, C classes, D features of a branch.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from ltpml_jax.methods.base import Blocks
from ltpml_jax.methods.comic_losses import ComicSettings

SMALL = 1e-12  # in the norm of a feature
ETA = 1 / 32  # added to the norm of a classifier's weight
DECAY = 0.9  # of a moving vector
STREAM = 2**20  # the seed's stream for what is added to the backbones, whose streams are their numbers
linear_init = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # torch's default of linear layers


class Branches(NamedTuple):
    """One thing for each branch."""

    head: Any
    tail: Any
    balanced: Any


class ComicOutputs(NamedTuple):
    """What the network returns: logits [B, C] without moving vectors, features [B, D] (the balanced ones before
    attention) and the classifiers' weights [C, D], from which moved logits are made; float32.
    """

    logits: Branches
    features: Branches
    weights: Branches


def normalised_logits(
    features: jax.Array, weight: jax.Array, scale: float = 16.0, groups: int = 1,
    moving: jax.Array | None = None, shift: float = 0.0,
) -> jax.Array:  # fmt: skip
    """Logits [B, C] of features [B, D] under the normalised classifier [C, D] (equation 9).

    The mean over `groups` parts k of scale * f_k / |f_k| . w_k / (|w_k| + 1/32). With `moving` e [D] (equation 10),
    shift * cos(f_k, e_k) * e_k / |e_k| is added to the normalised feature: the head's shift is -1, the tail's 2.
    """
    direction = _unit(features, groups)
    if moving is not None:
        common = _unit(moving, groups)[None]
        direction += shift * (direction * common).sum(-1, keepdims=True) * common
    return scale / groups * jnp.einsum("bgd,cgd->bc", direction, _unit(weight, groups, ETA))


def moving_mean(moving: jax.Array, features: jax.Array) -> jax.Array:
    """A moving vector [D] after a batch of features [B, D]: 0.9 of it plus their mean, as in the code.

    Not divided by the sum of weights: only its direction is used. Constant to gradients.
    """
    return DECAY * moving + jax.lax.stop_gradient(features).mean(0)


class NormalisedClassifier(nnx.Module):
    """The weight [C, D] of a branch's classifier, uniform within 1 / sqrt(D); no bias."""

    def __init__(self, classes: int, width: int, rngs: nnx.Rngs):
        """Draws the weight."""
        self.weight = nnx.Param(jax.random.uniform(rngs.params(), (classes, width), minval=-1) * width**-0.5)


class Attention(nnx.Module):
    """Additive attention (equation 8): score_j = v . tanh(W_q query + W_k key_j)."""

    def __init__(self, width: int, hidden: int, dropout: float, rngs: nnx.Rngs):
        """Makes one for queries and keys of `width` features."""
        self.query = nnx.Linear(width, hidden, use_bias=False, kernel_init=linear_init, rngs=rngs)
        self.key = nnx.Linear(width, hidden, use_bias=False, kernel_init=linear_init, rngs=rngs)
        self.score = nnx.Linear(hidden, 1, use_bias=False, kernel_init=linear_init, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)  # gets its key in the call

    def __call__(
        self, query: jax.Array, keys: jax.Array, *, train: bool, dropout_key: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        """(weighted sum of keys [B, D], weights [B, K]) of queries [B, D] and keys [B, K, D]."""
        scores = self.score(jnp.tanh(self.query(query)[:, None] + self.key(keys)))[..., 0]
        weights = self.dropout(jax.nn.softmax(scores), deterministic=not train, rngs=dropout_key)
        return jnp.einsum("bk,bkd->bd", weights, keys), weights


class Branch(nnx.Module):
    """Backbone, pooling, a linear layer of features, and the classifier's weight."""

    def __init__(self, backbone: Any, feature: nnx.Linear, classifier: NormalisedClassifier, log_softmax: bool):
        """Puts the parts together."""
        self.log_softmax = log_softmax
        self.backbone, self.feature, self.classifier = backbone, feature, classifier

    def __call__(self, images: jax.Array, *, train: bool, mask: jax.Array | None) -> jax.Array:
        """Features float32 [B, D] of normalised images [B, H, W, 3]."""
        pooled = jnp.mean(self.backbone(images, train=train, mask=mask), axis=(1, 2), dtype=jnp.float32)
        features = self.feature(pooled)
        return jax.nn.log_softmax(features) if self.log_softmax else features


class ComicNetwork(nnx.Module):
    """Three branches; the balanced one adds what it attends to in the features of head and tail."""

    def __init__(self, blocks: Blocks, settings: ComicSettings):
        """Makes the branches on three backbones, which differ where they are random."""
        self.settings = settings
        backbones = [blocks.backbone(number) for number in range(3)]
        features = tuple(backbone.features for backbone in backbones)
        tops, self.attention = _drawn(features, blocks.classes, settings, jax.random.key(blocks.seed))
        parts = (Branch(one, *top, settings.feat_logsoftmax) for one, top in zip(backbones, tops, strict=True))
        self.head, self.tail, self.balanced = parts

    @property
    def backbone(self) -> Any:
        """The headline's backbone, which `ltpml export` writes."""
        return self.balanced.backbone

    def __call__(
        self, images: jax.Array, *, train: bool, mask: jax.Array | None, dropout_key: jax.Array | None
    ) -> ComicOutputs:
        """Logits, features and weights of normalised images [B, H, W, 3]; arguments as of a classifier."""
        branches = Branches(self.head, self.tail, self.balanced)
        features = Branches(*(branch(images, train=train, mask=mask) for branch in branches))
        keys = jnp.stack(features[:2], axis=1)
        attended, _ = self.attention(features.balanced, keys, train=train, dropout_key=dropout_key)
        joined = features._replace(balanced=features.balanced + self.settings.attention_residual * attended)
        weights = Branches(*(branch.classifier.weight[...] for branch in branches))
        scale, groups = self.settings.scale, self.settings.groups
        logits = (normalised_logits(f, w, scale, groups) for f, w in zip(joined, weights, strict=True))
        return ComicOutputs(Branches(*logits), features, weights)


def _unit(vectors: jax.Array, groups: int, added: float = 0.0) -> jax.Array:
    """[..., D] as [..., groups, D / groups], each part divided by its norm + `added`; zero stays zero."""
    parts = vectors.reshape(*vectors.shape[:-1], groups, -1)
    norm = jnp.sqrt(jnp.square(parts).sum(-1, keepdims=True) + SMALL**2)  # its gradient at zero is finite
    return parts / (norm + added)


@partial(nnx.jit, static_argnums=(0, 1, 2))  # one program, which a compilation cache can keep, for ten small ones
def _drawn(
    features: tuple[int, ...], classes: int, settings: ComicSettings, key: jax.Array
) -> tuple[list[tuple[nnx.Linear, NormalisedClassifier]], Attention]:
    """What follows each of the backbones, which return so many `features`, and the attention that joins them."""
    rngs, width = nnx.Rngs(jax.random.fold_in(key, STREAM)), settings.feature_width
    tops = []
    for inputs in features:
        feature = nnx.Linear(inputs, width, kernel_init=linear_init, rngs=rngs)
        tops.append((feature, NormalisedClassifier(classes, width, rngs)))
    return tops, Attention(width, settings.attention_width, settings.attention_dropout, rngs)
