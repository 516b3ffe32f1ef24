"""The multi-label classifier: backbone, neck, head; and its form as pure functions over pytrees."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from ltpml_jax.errors import UserError
from ltpml_jax.models.layers import Compute, batch_norm, he_normal, normalise
from ltpml_jax.models.resnet import ARCHITECTURES, STAGES, ResNet, frozen_prefixes


@dataclass(frozen=True)
class ModelSpec:
    """Everything that decides a model's arithmetic, class count apart.

    Attributes:
        backbone: a key of `resnet.ARCHITECTURES`.
        neck_width: features the head sees.
        dropout: probability in [0, 1), between neck and head, in training.
        frozen_stages: 0 none; k the stem and the first k stages of the backbone (at most 4).
        backbone_norm: "stored" statistics always, or "batch" statistics in training (training from scratch).
        dtype: "float32" or "bfloat16" of the backbone's arithmetic; neck, head and parameters are float32.
        fold_norm: see `layers.Compute`.
        pointwise_matmul: see `layers.Compute`.
    """

    backbone: str
    neck_width: int
    dropout: float
    frozen_stages: int
    backbone_norm: str
    dtype: str
    fold_norm: bool
    pointwise_matmul: bool


class Neck(nnx.Module):
    """Global average pool, linear, BatchNorm (batch statistics in training), dropout; no activation."""

    def __init__(self, inputs: int, width: int, dropout: float, rngs: nnx.Rngs):
        """Makes a neck [.., inputs] -> [.., width]."""
        self.linear = nnx.Linear(inputs, width, kernel_init=he_normal, rngs=rngs)
        self.norm = batch_norm(width, rngs)
        self.dropout = nnx.Dropout(dropout)  # gets its key in the call, so that the model holds no rng state

    def __call__(self, x: Array, *, train: bool, mask: Array | None, dropout_key: Array | None) -> Array:
        """[B, H, W, inputs] any float dtype to [B, width] float32; `mask` and the key as in Classifier."""
        pooled = jnp.mean(x, axis=(1, 2), dtype=jnp.float32)
        normed = normalise(self.norm, self.linear(pooled), train, mask)
        return self.dropout(normed, deterministic=not train, rngs=dropout_key)


class Classifier(nnx.Module):
    """One logit for each class of each image."""

    def __init__(self, backbone: ResNet, neck: Neck, head: nnx.Linear):
        """Puts the three parts together."""
        self.backbone, self.neck, self.head = backbone, neck, head

    def __call__(self, images: Array, *, train: bool, mask: Array | None, dropout_key: Array | None) -> Array:
        """Logits of normalised images.

        Args:
            images: [B, H, W, 3], any float dtype.
            train: batch statistics in the neck, running statistics updated in place, dropout.
            mask: bool [B] or None; in training, rows outside of it change nothing for the others, whatever
                they hold (their own logits mean nothing). When it has no row at all, values stay finite.
            dropout_key: typed PRNG key, needed when train and dropout > 0; row b's draw is the same at any B.

        Returns:
            float32 [B, C].
        """
        if train and mask is not None:
            images, mask = _blank(images, mask)
        features = self.backbone(images, train=train, mask=mask)
        return self.head(self.neck(features, train=train, mask=mask, dropout_key=dropout_key))


class Pair(nnx.Module):
    """Two classifiers of the same architecture, each with weights and statistics of its own."""

    def __init__(self, first: Classifier, second: Classifier):
        """Puts the two side by side."""
        self.first, self.second = first, second

    def __call__(
        self, images: Array, *, train: bool, mask: Array | None, dropout_key: Array | None
    ) -> tuple[Array, Array]:
        """Logits float32 [B, C] of either; arguments as of a classifier."""
        keys = (None, None) if dropout_key is None else jax.random.split(dropout_key)
        return (
            self.first(images, train=train, mask=mask, dropout_key=keys[0]),
            self.second(images, train=train, mask=mask, dropout_key=keys[1]),
        )


def build(spec: ModelSpec, num_classes: int, seed: int, number: int = 0, draw_backbone: bool = True) -> Classifier:
    """A freshly initialised classifier, float32; each `number` has random weights of its own.

    Without `draw_backbone`, the backbone has shapes in place of arrays, for weights from a file; neck and head are the
    same. Raises UserError for a spec that cannot be built.
    """
    _check(spec)
    key = jax.random.key(seed)
    key = jax.random.fold_in(key, number) if number else key
    keys = WeightKeys(key)
    backbone = nnx.eval_shape(lambda: _backbone(spec, keys))
    skipped = 0 if draw_backbone else keys.drawn
    sizes = backbone.features, spec.neck_width, num_classes
    model = Classifier(backbone, *nnx.eval_shape(lambda: _top(*sizes, spec.dropout, keys)))
    nnx.update(model, _initial_state(spec.backbone, sizes, skipped, key))
    return model


def abstract_backbone(name: str) -> ResNet:
    """The backbone `name` of `resnet.ARCHITECTURES` with shapes in place of arrays."""
    spec = ModelSpec(name, 1, 0.0, 0, "stored", "float32", fold_norm=True, pointwise_matmul=True)
    return nnx.eval_shape(lambda: _backbone(spec, WeightKeys(jax.random.key(0))))


class WeightKeys:
    """Keys of initial weights, the same as of `nnx.Rngs(key)`.

    That one counts its draws in a Variable; each update takes as long as all that was traced before, which for a
    ResNet-101 is most of the time in which it is traced.
    """

    def __init__(self, key: Array, drawn: int = 0):
        """Begins after the first `drawn` of the key's."""
        self.key, self.drawn = key, drawn

    def params(self) -> Array:
        """The next key."""
        self.drawn += 1
        return jax.random.fold_in(self.key, self.drawn - 1)


def _backbone(spec: ModelSpec, keys: Any) -> ResNet:
    compute = Compute(spec.dtype, spec.fold_norm, spec.pointwise_matmul, spec.backbone_norm == "batch")
    return ResNet(ARCHITECTURES[spec.backbone], compute, spec.frozen_stages, keys)


def _top(features: int, width: int, classes: int, dropout: float, keys: Any) -> tuple[Neck, nnx.Linear]:
    head = nnx.initializers.normal(0.01)
    return Neck(features, width, dropout, keys), nnx.Linear(width, classes, kernel_init=head, rngs=keys)


# One compilation (that a compilation cache can keep) instead of forty small ones, one for each shape drawn;
# it is the same one whatever the switches are, because weights do not depend on them.
@partial(jax.jit, static_argnums=(0, 1, 2))
def _initial_state(backbone: str, sizes: tuple[int, int, int], skipped: int, key: Array) -> dict[str, nnx.State]:
    """States of the parts, by name; of neck and head alone where the keys of the backbone, the first ones, are skipped.

    sizes: of the features, the neck and the classes.
    """
    keys = WeightKeys(key, skipped)
    parts: dict[str, nnx.Module] = {}
    if not skipped:
        spec = ModelSpec(backbone, 1, 0.0, 0, "stored", "float32", fold_norm=True, pointwise_matmul=True)
        parts["backbone"] = _backbone(spec, keys)
    parts["neck"], parts["head"] = _top(*sizes, 0.0, keys)
    return {name: nnx.state(part) for name, part in parts.items()}


class Parts(NamedTuple):
    """A model as pytrees: gradients are taken with respect to `trainable` and to nothing else."""

    graphdef: nnx.GraphDef[Any]
    trainable: nnx.State
    rest: nnx.State  # frozen parameters and BatchNorm's running statistics


def split(model: nnx.Module, frozen_stages: int) -> Parts:
    """Splits a model with any number of backbones, each under the name `backbone`; `frozen_stages` as in ModelSpec.

    What lies under the name `frozen` does not train either. A frozen stage costs no backward pass, because nothing
    before it or in it is differentiated.
    """
    frozen = frozen_prefixes(frozen_stages)

    def trains(path: tuple, variable: object) -> bool:
        inside = path[path.index("backbone") + 1] if "backbone" in path else ""
        return isinstance(variable, nnx.Param) and "frozen" not in path and inside not in frozen

    return Parts(*nnx.split(model, trains, ...))


def make_forward(graphdef: nnx.GraphDef[Any]) -> Callable[..., tuple[Any, nnx.State]]:
    """The model as a pure function of its states."""

    def forward(
        trainable: nnx.State,
        rest: nnx.State,
        images: Array,
        *,
        train: bool,
        mask: Array | None,
        dropout_key: Array | None,
    ) -> tuple[Any, nnx.State]:
        """What the model returns (one classifier: logits float32 [B, C]), and `rest`, with new statistics if train."""
        # Without the copy the new running statistics would be written into the caller's own states.
        model = nnx.merge(graphdef, trainable, rest, copy=True)
        outputs = model(images, train=train, mask=mask, dropout_key=dropout_key)
        if not train:
            return outputs, rest
        return outputs, nnx.merge_state(rest, _statistics(model, rest, mask))

    return forward


def _statistics(model: nnx.Module, rest: nnx.State, mask: Array | None) -> nnx.State:
    new = nnx.state(model, nnx.BatchStat)
    if mask is None:
        return new
    # A mask without any row has no statistics: what the model made up for finiteness must not be kept.
    old, some = nnx.filter_state(rest, nnx.BatchStat), jnp.any(mask)
    return jax.tree.map(lambda n, o: jnp.where(some, n, o), new, old)


def _blank(images: Array, mask: Array) -> tuple[Array, Array]:
    """Images with zeros outside of the mask (not even a NaN gets out of there), and a mask with some row."""
    return jnp.where(mask[:, None, None, None], images, 0), mask | ~jnp.any(mask)


def _check(spec: ModelSpec) -> None:
    choices = {
        "backbone": tuple(ARCHITECTURES),
        "backbone_norm": ("stored", "batch"),
        "dtype": ("float32", "bfloat16"),
        "frozen_stages": tuple(range(STAGES + 1)),
    }
    for field, allowed in choices.items():
        if (value := getattr(spec, field)) not in allowed:
            raise UserError(f"model.{field} is {value!r}; choose one of {', '.join(map(str, allowed))}")
    if not 0 <= spec.dropout < 1:
        raise UserError(f"model.dropout is {spec.dropout}; choose a probability in [0, 1)")
