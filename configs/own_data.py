"""NDLP on a dataset of one's own; the argument is the name that it was prepared under.

ltpml prepare --dataset=mine --csv=labels.csv --images=photos --test_share=0.2 --validation_share=0.1
ltpml train --config=configs/own_data.py:mine --workdir=runs/mine
"""

from ltpml_jax.config import default_config
from ltpml_jax.errors import UserError
from ltpml_jax.methods.settings import Config


def get_config(argument: str = "") -> Config:
    """The published VOC settings on the candidate sets that the annotators left.

    `best` needs a validation split to be prepared.
    """
    if not argument:
        raise UserError("Give the name of the prepared dataset after a colon: --config=configs/own_data.py:NAME.")
    config = default_config()
    config.data.name = argument
    config.data.resize = "fast"
    config.model.pretrained = "hf:timm/resnet50.tv_in1k"
    return config
