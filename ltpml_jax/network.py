"""From a config to a network, an optimiser, and the device part of the augmentation."""

import logging
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from ltpml_jax import photometric
from ltpml_jax.models import classifier, weights
from ltpml_jax.types import Config

log = logging.getLogger(__name__)
SHIPPED = {"digits_small": Path(__file__).parent / "models" / "digits_small.safetensors"}


def build(config: Config, classes: int, pretrained: bool = True) -> classifier.Parts:
    """The network as a graph and two pytrees, with the backbone's weights loaded where the config names some."""
    model = classifier.build(classifier.ModelSpec(**_spec(config)), classes, config.seed)
    name = config.model.pretrained
    if name and pretrained:
        source: str | Path = SHIPPED.get(name) or name
        log.info("Backbone weights %s, sha256 %s", source, weights.load_backbone(model, source))
    return classifier.split(model, config.model.frozen_stages)


def build_optimizer(config: Config) -> optax.GradientTransformation:
    """SGD with momentum and coupled weight decay on everything that trains, at a constant rate."""
    return optax.chain(
        optax.add_decayed_weights(config.optim.weight_decay),
        optax.sgd(config.optim.learning_rate, config.optim.momentum),
    )


def build_prepare(config: Config) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """(key, images uint8 [B, H, W, 3]) -> distorted and normalised float32 images."""
    spec = photometric.JitterSpec(**config.jitter)

    def prepare(key: jax.Array, images: jax.Array) -> jax.Array:
        return photometric.normalise(photometric.distort(key, images.astype(jnp.float32), spec))

    return prepare


def _spec(config: Config) -> dict:
    return {name: value for name, value in config.model.items() if name != "pretrained"}
