"""NDLP on NUS-WIDE-LT; the argument is the partial rate, 0.05 in the paper.

ltpml prepare --dataset=nuswide_lt --appendix=APPENDIX --images=DATA
python -m ltpml_jax.main --config=configs/nuswide_lt.py:0.05 --workdir=runs/nuswide

Published for NDLP (mAP in %, Total, Head / Medium / Tail; with the true counts and lists, see nuswide_lt_reference.py):
0.05: 29.43, 33.04 / 23.31 / 51.78. This project has not run it on the photographs.

Expected on one A100-class GPU, not measured: 10 epochs of 81/4 times the largest class,
at 470 images/s (both passes; half of the 938 images/s that are published for a
plain ResNet-50 in TF32), and about 4 GB of its memory at batch 32.
"""

from configs import coco_mlt
from ltpml_jax.types import Config


def get_config(argument: str = "0.05") -> Config:
    """As coco_mlt: the published settings of the two are the same."""
    config = coco_mlt.get_config(argument)
    config.data.name = "nuswide_lt"
    return config
