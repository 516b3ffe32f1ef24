"""NDLP on the embedded dataset; the argument is the partial rate, with `,reference` for the reference's own priors.

ltpml train --config=configs/digits_mlt.py:0.3 --workdir=runs/digits
ltpml train --config=configs/digits_mlt.py:0.3,reference --workdir=runs/digits_reference
"""

from ltpml_jax.config import default_config
from ltpml_jax.methods.settings import Config
from ltpml_jax.recipes.argument import apply_labels, parse_argument


def get_config(argument: str = "") -> Config:
    """The published VOC settings of NDLP on a small network; colour and orientation are labels here.

    `reference`: true counts and lists (`oracle`), which LT-PML says are unknown, and no image held out.
    """
    wanted = parse_argument(argument, partial_rate=0.3)
    config = default_config()
    config.data.name = "digits_mlt"
    apply_labels(config, wanted)
    config.method.name = wanted.method
    config.data.image_size = 64
    config.data.validation = 0.0 if wanted.reference else 0.1
    config.data.priors = "oracle" if wanted.reference else "estimated"
    config.data.flip = 0.0  # a mirrored digit is another sign
    config.jitter.channel_shuffle = False  # it would swap the colour families, which are half of a class
    config.model.backbone = "resnet_small"
    config.model.pretrained = "digits_small"
    return config
