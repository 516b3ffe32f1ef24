"""What stands after the colon of a config file: `--config=configs/voc_mlt.py:0.3,method=cls`."""

from typing import NamedTuple

from ltpml_jax.config import nearest
from ltpml_jax.errors import UserError
from ltpml_jax.methods.all_methods import METHODS
from ltpml_jax.methods.settings import Config

GRAMMAR = (
    "give a number in [0, 1) (a partial rate), tail_biased=RATE, missing=SHARE, left=SHARE or single, "
    "and after a comma method=NAME, or `reference` for the released code's recipe"
)


class Argument(NamedTuple):
    """How labels are corrupted (data.noise and its fields), the method, and whether `reference` was asked for."""

    noise: str = "partial"
    partial_rate: float = 0.0
    missing_rate: float = 0.0
    drop_empty: bool = False
    method: str = "ndlp"
    reference: bool = False


def parse_argument(text: str, partial_rate: float) -> Argument:
    """The argument of a config file, words with commas between them; `partial_rate` where it names no noise.

    One word at most says how labels are corrupted: a number (the partial rate), `tail_biased=RATE`, `missing=SHARE` (of
    the positives that are dropped, and images without any left out: PLT-MLC of COMIC by a generator of this project, as
    the authors' is not released), `left=SHARE` (of the positives that stay, and so does every image, as CLS has it) or
    `single` (one positive an image). `method=NAME` chooses the method, `reference` the released code's recipe.

    Raises UserError for anything else.
    """
    words = [word.strip() for word in text.split(",")] if text else []
    methods = [word.removeprefix("method=") for word in words if word.startswith("method=")]
    noises = [word for word in words if word != "reference" and not word.startswith("method=")]
    for name in methods:
        check_method(name)
    try:
        (noise,) = map(_noise, noises) if noises else (Argument(partial_rate=partial_rate),)
        (method,) = methods or ("ndlp",)
    except ValueError:
        raise UserError(f"The words after the config file's colon are {text!r}; {GRAMMAR}.") from None
    return noise._replace(method=method, reference="reference" in words)


def check_method(name: str) -> None:
    """Raise UserError for a name that no method has."""
    if name not in METHODS:
        raise UserError(f"There is no method {name!r}; did you mean {nearest(name, METHODS)!r}?")


def apply_labels(config: Config, wanted: Argument) -> None:
    """Set the fields that say how labels are corrupted; what is not annotated stays unknown to the method."""
    config.data.noise = wanted.noise
    config.data.partial_rate = wanted.partial_rate
    config.data.missing_rate = wanted.missing_rate
    config.data.drop_empty = wanted.drop_empty
    if wanted.noise in ("missing", "single"):
        config.data.unknown = "unknown"


def _noise(word: str) -> Argument:
    name, _, value = word.partition("=")
    if word == "single":
        return Argument("single")
    rate = float(value if "=" in word else word)
    share = 1 - rate if name == "left" else rate
    if not 0 <= share < 1:  # a NaN fails this comparison too
        raise ValueError(word)
    if "=" not in word:
        return Argument(partial_rate=share)
    known = {
        "tail_biased": Argument("tail_biased", partial_rate=share),
        "missing": Argument("missing", missing_rate=share, drop_empty=True),
        "left": Argument("missing", missing_rate=share),
    }
    if name not in known:
        raise ValueError(word)
    return known[name]
