"""NDLP, or another method, on the embedded dataset; the argument is the partial rate, other labels, `,method=NAME`.

ltpml train --config=configs/digits_mlt.py:0.3 --workdir=runs/digits
ltpml train --config=configs/digits_mlt.py:0.3,method=noise_model --workdir=runs/noise
ltpml train --config=configs/digits_mlt.py:0.3,reference --workdir=runs/digits_reference
"""

from ltpml_jax.config import default_config
from ltpml_jax.methods.settings import Config
from ltpml_jax.recipes.argument import apply_labels, parse_argument

# Optimiser, learning rate and schedule that the table of docs/results.md chose at 0.3 for 851 steps of shuffled images.
# ASL has the lowest of three rates that were alike there: with the highest, one of three seeds did not train. NDLP, BCE
# and LWS keep NDLP's published recipe.
TUNED = {
    "noise_model": ("sgd", 0.3, "cosine"),
    "jocor": ("sgd", 0.1, "cosine"),
    "db_focal": ("sgd", 0.03, "cosine"),
    "elr": ("sgd", 0.03, "constant"),
    "an_ls": ("sgd", 0.01, "constant"),
    "coteaching": ("sgd", 0.01, "constant"),
    "db": ("sgd", 0.01, "constant"),
    "epr": ("sgd", 0.01, "constant"),
    "role": ("sgd", 0.01, "constant"),
    "wan": ("sgd", 0.01, "constant"),
    "comic": ("adam", 1e-3, "cosine"),
    "coteaching_plus": ("adam", 1e-3, "cosine"),
    "asl": ("adam", 3e-4, "cosine"),
    "cls": ("adam", 3e-4, "cosine"),
    "focal": ("adam", 3e-4, "cosine"),
    "pu_mlc": ("adam", 3e-4, "cosine"),
    "splc": ("adam", 3e-4, "cosine"),
    "hill": ("adam", 1e-4, "cosine"),
    "pasl": ("adam", 1e-4, "cosine"),
}


def get_config(argument: str = "") -> Config:
    """The published VOC settings of NDLP on a small network; colour and orientation are labels here.

    Methods other than NDLP, BCE and LWS have what TUNED says of them, and 23 shuffled epochs.
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
    if wanted.method in TUNED:
        config.optim.name, config.optim.learning_rate, config.optim.schedule = TUNED[wanted.method]
        config.optim.weight_decay = 1e-4 if config.optim.schedule == "constant" else 1e-5
        config.data.sampler, config.train.epochs = "shuffle", 23
    return config
