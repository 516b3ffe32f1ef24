"""Pretrain the small backbone on colour-blind digit identity: clean, balanced, digits of its own.

python -m ltpml_jax.main --config=configs/digits_pretrain.py --workdir=runs/pretrain
ltpml export --workdir=runs/pretrain --out=ltpml_jax/models/digits_small.safetensors
"""

from configs import default
from ltpml_jax.types import Config


def get_config() -> Config:
    """Plain binary cross-entropy from scratch; channel shuffling makes the features colour-blind."""
    config = default.get_config()
    config.data.name = "digits_identity"
    config.data.labels = "clean"
    config.data.sampler = "shuffle"
    config.data.image_size = 64
    config.data.flip = 0.0
    config.jitter.hue = 180.0
    config.model.backbone = "resnet_small"
    config.model.frozen_stages = 0
    config.model.backbone_norm = "batch"
    config.model.dropout = 0.2
    config.method.name = "bce"
    config.method.priors = "oracle"
    config.optim.learning_rate = 0.1
    config.train.epochs = 15
    return config
