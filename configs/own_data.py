"""A dataset of one's own; the argument is the name that it was prepared under, `,method=NAME` another method.

ltpml prepare --dataset=mine --csv=labels.csv --images=photos --test_share=0.2 --validation_share=0.1
ltpml train --config=configs/own_data.py:mine --workdir=runs/mine
ltpml train --config=configs/own_data.py:mine,method=ndlp --workdir=runs/mine_ndlp
"""

from ltpml_jax.config import default_config
from ltpml_jax.errors import UserError
from ltpml_jax.methods.settings import Config


def get_config(argument: str = "") -> Config:
    """The noise model on the labels that the annotators left, with its recipe on digits_mlt but for rate and epochs.

    With method=ndlp: the published VOC settings, and unknown labels are candidates; to the others they stay unknown.
    `best` needs a validation split to be prepared. The learning rate is a guess for ResNet-50; nothing here was
    measured on photographs.
    """
    name, _, method = argument.partition(",method=")
    if not name:
        raise UserError("Give the name of the prepared dataset after a colon: --config=configs/own_data.py:NAME.")
    config = default_config()
    config.data.name = name
    config.data.resize = "fast"
    config.model.pretrained = "hf:timm/resnet50.tv_in1k"
    config.method.name = method or "noise_model"
    if config.method.name != "ndlp":
        config.data.unknown = "unknown"
    if config.method.name == "noise_model":
        config.data.sampler = "shuffle"
        config.optim.schedule, config.optim.weight_decay = "cosine", 1e-5
        config.train.epochs = 20
    return config
