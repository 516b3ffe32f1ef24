"""A dataset of one's own; the argument is the name that it was prepared under, `,method=NAME` another method.

ltpml prepare --dataset=mine --csv=labels.csv --images=photos --test_share=0.2 --validation_share=0.1
ltpml train --config=configs/own_data.py:mine --workdir=runs/mine
ltpml train --config=configs/own_data.py:mine,method=ndlp --workdir=runs/mine_ndlp
"""

from ltpml_jax.config import default_config
from ltpml_jax.errors import UserError
from ltpml_jax.methods.settings import Config
from ltpml_jax.recipes.argument import Argument, check_method
from ltpml_jax.recipes.published import apply_method


def get_config(argument: str = "") -> Config:
    """The noise model on the labels that the annotators left, with its recipe on digits_mlt but for rate and epochs.

    Other methods: their published settings on VOC, and with them what those say of VOC's classes (EPR's and ROLE's
    labels an image, CLS's shares). With method=ndlp unknown labels are candidates; to the others they stay unknown.
    `best` needs a validation split to be prepared. The noise model's learning rate is a guess for ResNet-50; nothing
    here was measured on photographs.
    """
    name, *words = (word.strip() for word in argument.split(","))
    method = words[0].removeprefix("method=") if words else "noise_model"
    if not name or "=" in name or words not in ([], [f"method={method}"]):
        raise UserError(
            f"The words after the config file's colon are {argument!r}; give the name of the prepared dataset, and "
            "after a comma method=NAME: --config=configs/own_data.py:NAME,method=ndlp."
        )
    check_method(method)
    config = default_config()
    config.data.name = name
    config.data.resize = "fast"
    config.model.pretrained = "hf:timm/resnet50.tv_in1k"
    if method != "ndlp":
        config.data.unknown = "unknown"
    apply_method(config, Argument(method=method), "voc")
    return config
