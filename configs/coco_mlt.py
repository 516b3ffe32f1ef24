"""NDLP on COCO-MLT; the argument is the partial rate, 0.05 or 0.1 in the paper.

ltpml prepare --dataset=coco_mlt --appendix=APPENDIX --images=DATA
python -m ltpml_jax.main --config=configs/coco_mlt.py:0.05 --workdir=runs/coco

Published for NDLP (mAP in %, Total, Head / Medium / Tail; with the true counts and lists, see coco_mlt_reference.py):
0.05: 40.06, 41.87 / 40.57 / 37.80; 0.1: 35.21, 40.65 / 32.83 / 33.55. This project has not run it on the photographs.

Expected on one A100-class GPU, not measured: 10 epochs of 22,560 samples in about 8 minutes,
at 470 images/s (both passes; half of the 938 images/s that are published for a
plain ResNet-50 in TF32), and about 4 GB of its memory at batch 32.
"""

from configs import voc_mlt
from ltpml_jax.types import Config


def get_config(argument: str = "0.05") -> Config:
    """As voc_mlt, with the published COCO settings of loss and sharpening."""
    config = voc_mlt.get_config(argument)
    config.data.name = "coco_mlt"
    config.db.neg_scale = 2.0
    config.db.map_theta = 0.2
    config.ndlp.gamma = 2.0
    return config
