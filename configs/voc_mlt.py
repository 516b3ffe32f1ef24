"""NDLP on VOC-MLT; the argument is the partial rate, 0.3 or 0.5 in the paper.

ltpml prepare --dataset=voc_mlt --appendix=APPENDIX --images=DATA
python -m ltpml_jax.main --config=configs/voc_mlt.py:0.3 --workdir=runs/voc

Published for NDLP (mAP in %, Total, Head / Medium / Tail; with the true counts and lists, see voc_mlt_reference.py):
0.3: 59.51, 59.54 / 70.33 / 51.38; 0.5: 40.76, 43.09 / 52.59 / 30.13. This project has not run it on the photographs.

Expected on one A100-class GPU, not measured: 10 epochs of 3,875 samples in about 2 minutes,
at 470 images/s (both passes; half of the 938 images/s that are published for a
plain ResNet-50 in TF32), and about 4 GB of its memory at batch 32.
"""

from configs import default
from ltpml_jax.config import partial_rate
from ltpml_jax.types import Config


def get_config(argument: str = "0.3") -> Config:
    """The published settings, with class counts and sampling lists from candidates, and a tenth held out."""
    config = default.get_config()
    config.data.name = "voc_mlt"
    config.data.partial_rate = partial_rate(argument)
    config.data.validation = 0.1
    config.data.resize = "fast"
    config.model.pretrained = "hf:timm/resnet50.tv_in1k"
    return config
