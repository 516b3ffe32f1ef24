"""Fields that nothing of a run would depend on."""

import pytest

from ltpml_jax import trainer
from ltpml_jax.config import default_config, settings, validate
from ltpml_jax.data.field_rules import check_used
from ltpml_jax.errors import UserError
from tests.helpers import runs

UNUSED = {
    "missing positives of partial labels": (
        {"data__missing_rate": 0.4},
        "config.data.missing_rate is 0.4, but config.data.noise=partial does not .* 0, or data.noise to missing",
    ),
    "candidates of missing positives": (
        {"data__noise": "missing", "data__unknown": "unknown", "data__missing_rate": 0.4},
        "config.data.partial_rate is 0.3, but config.data.noise=missing .* or data.noise to partial or tail_biased",
    ),
    "candidates of single positives": (
        {"data__noise": "single", "data__unknown": "unknown"},
        "config.data.partial_rate is 0.3, but config.data.noise=single",
    ),
    "an end of a cosine that is none": (
        {"optim__cosine_end": 0.5},
        "config.optim.cosine_end is 0.5, but config.optim.schedule=constant does not use it; set it to 0, or",
    ),
    "drops of a cosine": (
        {"optim__schedule": "cosine", "optim__drop_epochs": (1.0, 2.0)},
        r"drop_epochs is \(1.0, 2.0\), but config.optim.schedule=cosine does not use it; set it to \(\), or .* to step",
    ),
    "drops by path of a constant": (
        {"optim__drop_every": "head=3"},
        "drop_every is 'head=3', but config.optim.schedule=constant does not use it; set it to '', or",
    ),
    "steps that never come": (
        {"optim__schedule": "step"},
        "config.optim.schedule is 'step', but the rate never drops; set drop_epochs or drop_every",
    ),
    "a given rate of flips where rates are estimated": (
        {"noise__flip_rate": 0.2},
        "config.noise.flip_rate is 0.2, but config.noise.rates=estimated does not use it; .* noise.rates to given",
    ),
}


@pytest.mark.parametrize(("changes", "sentence"), UNUSED.values(), ids=UNUSED)
def test_a_rate_without_effect_is_refused_where_a_run_begins(changes, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        trainer.train(runs.config(**changes), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_has_one_can_still_be_opened():
    config = default_config()
    config.data.missing_rate = 0.4
    config.noise.flip_rate, config.optim.schedule = 0.2, "step"
    validate(config)


@pytest.mark.parametrize("noise", ["partial", "tail_biased", "missing", "single"])
def test_rates_that_are_used_or_nothing_pass(noise):
    config = default_config()
    data = config.data
    data.noise, data.partial_rate, data.missing_rate = noise, 0.3, 0.4
    for name, kinds in (("missing_rate", ("missing",)), ("partial_rate", ("partial", "tail_biased"))):
        data[name] = data[name] if noise in kinds else 0.0
    check_used(config, settings())
