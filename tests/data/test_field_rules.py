"""Fields of the data section that no label of a run would depend on."""

import pytest

from ltpml_jax import trainer
from ltpml_jax.config import default_config, validate
from ltpml_jax.data.field_rules import check_used
from ltpml_jax.errors import UserError
from tests.helpers import runs

UNUSED = {
    "missing positives of partial labels": (
        {"missing_rate": 0.4, "partial_rate": 0.3},
        "config.data.missing_rate is 0.4, but config.data.noise=partial does not use it; set it to 0, or the noise to",
    ),
    "candidates of missing positives": (
        {"noise": "missing", "unknown": "unknown", "missing_rate": 0.4, "partial_rate": 0.3},
        "config.data.partial_rate is 0.3, but config.data.noise=missing .* or the noise to partial or tail_biased",
    ),
    "candidates of single positives": (
        {"noise": "single", "unknown": "unknown", "partial_rate": 0.3},
        "config.data.partial_rate is 0.3, but config.data.noise=single",
    ),
}


@pytest.mark.parametrize(("changes", "sentence"), UNUSED.values(), ids=UNUSED)
def test_a_rate_without_effect_is_refused_where_a_run_begins(changes, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        trainer.train(runs.config(**{f"data__{name}": value for name, value in changes.items()}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_has_one_can_still_be_opened():
    config = default_config()
    config.data.missing_rate = 0.4
    validate(config)


@pytest.mark.parametrize("noise", ["partial", "tail_biased", "missing", "single"])
def test_rates_that_are_used_or_nothing_pass(noise):
    data = default_config().data
    data.noise, data.partial_rate, data.missing_rate = noise, 0.3, 0.4
    for name, kinds in (("missing_rate", ("missing",)), ("partial_rate", ("partial", "tail_biased"))):
        data[name] = data[name] if noise in kinds else 0.0
    check_used(data)
