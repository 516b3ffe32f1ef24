import pytest

from configs import digits_mlt
from ltpml_jax.config import validate
from ltpml_jax.errors import UserError
from ltpml_jax.methods.all_methods import METHODS
from ltpml_jax.recipes.argument import Argument, parse_argument
from ltpml_jax.workdir import differences, from_json


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("", Argument(partial_rate=0.3)),
        ("0", Argument()),
        ("reference", Argument(partial_rate=0.3, reference=True)),
        ("0.5, reference", Argument(partial_rate=0.5, reference=True)),
        ("reference,0.5", Argument(partial_rate=0.5, reference=True)),
        ("0.5,method=bce", Argument(partial_rate=0.5, method="bce")),
        ("method=bce", Argument(partial_rate=0.3, method="bce")),
        ("tail_biased=0.4", Argument("tail_biased", partial_rate=0.4)),
        ("missing=0.4,method=bce", Argument("missing", missing_rate=0.4, drop_empty=True, method="bce")),
        ("left=0.75", Argument("missing", missing_rate=0.25)),
        ("single", Argument("single")),
    ],
)
def test_the_words_after_the_colon(text, want):
    assert parse_argument(text, 0.3) == want


def test_the_fields_follow_the_words():
    data = digits_mlt.get_config("missing=0.4").data
    assert (data.noise, data.partial_rate, data.missing_rate, data.unknown) == ("missing", 0.0, 0.4, "unknown")
    data = digits_mlt.get_config("tail_biased=0.2").data
    assert (data.noise, data.partial_rate, data.unknown) == ("tail_biased", 0.2, "candidate")


def test_the_reference_knows_what_lt_pml_does_not():
    plain, reference = digits_mlt.get_config("0.3"), digits_mlt.get_config("0.3,reference")
    assert differences(from_json(plain.to_json()), reference) == [
        "data.priors was estimated, now oracle",
        "data.validation was 0.1, now 0.0",
    ]


WRONG = (
    *("x", "1.0", "-0.1", "1.5", "nan", "inf", "0.3,0.5", "0.3,referenze", ","),
    *("left=0", "left=1.5", "missing=", "mising=0.4", "single=1", "single,0.3"),
)


@pytest.mark.parametrize("text", [*WRONG, "method=bce,method=ndlp"])
def test_wrong_words_are_refused(text):
    with pytest.raises(UserError, match=rf"colon are '{text}'; give a number in \[0, 1\)"):
        digits_mlt.get_config(text)


@pytest.mark.parametrize(("name", "near"), [("bcee", "bce"), ("COMIC", "comic"), ("NoiseModel", "noise_model")])
def test_an_unknown_method_is_refused_with_the_nearest(name, near):
    with pytest.raises(UserError, match=f"no method '{name}'; did you mean '{near}'"):
        digits_mlt.get_config(f"0.3,method={name}")


def test_every_method_has_a_recipe_on_digits_that_trains_it():
    """NDLP's rate is too high for losses that are summed, and too low for the noise model."""
    assert digits_mlt.TUNED.keys() == METHODS.keys() - {"ndlp", "bce", "lws"}
    for name in digits_mlt.TUNED:
        validate(digits_mlt.get_config(f"0.3,method={name}"))
    changed = differences(from_json(digits_mlt.get_config("0.3").to_json()), digits_mlt.get_config("0.3,method=hill"))
    assert changed == [
        "data.sampler was class_aware, now shuffle",
        "method.name was ndlp, now hill",
        "optim.learning_rate was 0.02, now 0.0001",
        "optim.name was sgd, now adam",
        "optim.schedule was constant, now cosine",
        "optim.weight_decay was 0.0001, now 1e-05",
        "train.epochs was 10, now 23",
    ]
