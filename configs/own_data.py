"""NDLP on a dataset of one's own; the argument is the name that it was prepared under.

ltpml prepare --dataset=mine --csv=labels.csv --images=photos --test_share=0.2 --validation_share=0.1
python -m ltpml_jax.main --config=configs/own_data.py:mine --workdir=runs/mine
"""

from configs import voc_mlt
from ltpml_jax.errors import UserError
from ltpml_jax.types import Config


def get_config(argument: str = "") -> Config:
    """As voc_mlt, with the candidate sets that the annotators left; `best` needs a validation split to be prepared."""
    if not argument:
        raise UserError("Give the name of the prepared dataset after a colon: --config=configs/own_data.py:NAME.")
    config = voc_mlt.get_config("0.0")
    config.data.name = argument
    config.data.validation = 0.0
    return config
