"""The reference's own priors and sampling on the embedded dataset: true counts, true lists (`oracle`).

python -m ltpml_jax.main --config=configs/digits_mlt_reference.py:0.3 --workdir=runs/digits_reference
"""

from configs import digits_mlt
from ltpml_jax.types import Config


def get_config(argument: str = "0.3") -> Config:
    """As digits_mlt, with what LT-PML says is unknown, and no image held out."""
    config = digits_mlt.get_config(argument)
    config.method.priors = "oracle"
    config.data.validation = 0.0
    return config
