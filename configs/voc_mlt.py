"""NDLP, or another method, on VOC-MLT, under partial or other labels.

The argument is the partial rate, 0.3 or 0.5 in NDLP's paper, with `,reference` for its released code; other noise and
methods (`ltpml_jax/recipes`) as below.

ltpml prepare --dataset=voc_mlt --appendix=APPENDIX --images=DATA
ltpml train --config=configs/voc_mlt.py:0.3 --workdir=runs/voc
ltpml train --config=configs/voc_mlt.py:0.3,reference --workdir=runs/voc_reference
ltpml train --config=configs/voc_mlt.py:missing=0.4,method=comic --workdir=runs/voc_comic
ltpml train --config=configs/voc_mlt.py:left=0.75,method=cls --workdir=runs/voc_cls

Published for NDLP, with the true counts and lists (mAP in %, Total, Head / Medium / Tail):
0.3: 59.51, 59.54 / 70.33 / 51.38; 0.5: 40.76, 43.09 / 52.59 / 30.13. This project has not run it on the photographs.

Expected on one A100-class GPU, not measured: 10 epochs of 3,875 samples in about 2 minutes,
at 470 images/s (both passes; half of the 938 images/s that are published for a
plain ResNet-50 in TF32), and about 4 GB of its memory at batch 32.
"""

from ltpml_jax.config import default_config
from ltpml_jax.methods.settings import Config
from ltpml_jax.recipes.argument import apply_labels, parse_argument
from ltpml_jax.recipes.published import apply_method


def get_config(argument: str = "") -> Config:
    """The published settings, with class counts and sampling lists from candidates, and a tenth held out.

    `reference`: the true counts and lists, no image held out, and OpenCV's plain decoding and resize.
    """
    wanted = parse_argument(argument, partial_rate=0.3)
    config = default_config()
    config.data.name = "voc_mlt"
    apply_labels(config, wanted)
    config.data.validation = 0.0 if wanted.reference else 0.1
    config.data.priors = "oracle" if wanted.reference else "estimated"
    config.data.resize = "opencv" if wanted.reference else "fast"
    config.model.pretrained = "hf:timm/resnet50.tv_in1k"
    apply_method(config, wanted, "voc")
    return config
