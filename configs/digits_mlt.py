"""NDLP on the embedded dataset; the argument is the partial rate.

python -m ltpml_jax.main --config=configs/digits_mlt.py:0.3 --workdir=runs/digits
"""

from configs import default
from ltpml_jax.config import partial_rate
from ltpml_jax.types import Config


def get_config(argument: str = "0.3") -> Config:
    """The published VOC settings of NDLP on a small network; colour and orientation are labels here."""
    config = default.get_config()
    config.data.name = "digits_mlt"
    config.data.partial_rate = partial_rate(argument)
    config.data.image_size = 64
    config.data.validation = 0.1
    config.data.flip = 0.0  # a mirrored digit is another sign
    config.jitter.channel_shuffle = False  # it would swap the colour families, which are half of a class
    config.model.backbone = "resnet_small"
    config.model.pretrained = "digits_small"
    return config
