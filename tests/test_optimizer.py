"""The optimiser of the config, against updates written out."""

import jax
import numpy as np
import pytest

from ltpml_jax.config import default_config
from ltpml_jax.errors import UserError
from ltpml_jax.optimizer import build_optimizer, check_paths, drop_periods, multipliers, rate_schedule

PARAMS = {"backbone": {"layer1": np.array([1.0, -2.0], np.float32)}, "head": np.array([0.5], np.float32)}
GRADS = {"backbone": {"layer1": np.array([0.3, 0.1], np.float32)}, "head": np.array([-0.4], np.float32)}


def config(**changes):
    made = default_config()
    made.optim.update(changes)
    return made


def updates(steps: int, **changes) -> list[dict]:
    """What is added to the parameters in each step, all at the same gradients and parameters."""
    optimizer = build_optimizer(config(**changes), steps_per_epoch=4)

    @jax.jit
    def run(params, grads):
        def step(at, _):
            update, at = optimizer.update(grads, at, params)
            return at, update

        return jax.lax.scan(step, optimizer.init(params), length=steps)[1]

    found = jax.device_get(run(PARAMS, GRADS))
    return [jax.tree.map(lambda leaf, n=number: leaf[n], found) for number in range(steps)]


def test_sgd_with_momentum_and_coupled_weight_decay():
    first, second = updates(2, learning_rate=0.1, momentum=0.5, weight_decay=0.01)
    gradient = np.array([0.3 + 0.01, 0.1 - 0.02])
    np.testing.assert_allclose(first["backbone"]["layer1"], -0.1 * gradient, rtol=1e-6)
    np.testing.assert_allclose(second["backbone"]["layer1"], -0.1 * 1.5 * gradient, rtol=1e-6)


def test_adam_with_coupled_weight_decay():
    """As torch's Adam(weight_decay=w): the decay goes through the moments; the first update is the gradient's sign."""
    first, second = updates(2, name="adam", learning_rate=0.1, weight_decay=0.0, betas=(0.8, 0.9))
    np.testing.assert_allclose(first["backbone"]["layer1"], [-0.1, -0.1], rtol=1e-5)
    np.testing.assert_allclose(second["head"], [0.1], rtol=1e-5)
    (decayed,) = updates(1, name="adam", learning_rate=0.1, weight_decay=1.0)
    np.testing.assert_allclose(decayed["backbone"]["layer1"], [-0.1, 0.1], rtol=1e-5)  # 0.3 + 1, 0.1 - 2


def test_clipping_bounds_the_norm_of_all_gradients_together():
    norm = np.sqrt(0.3**2 + 0.1**2 + 0.4**2)
    (clipped,) = updates(1, learning_rate=1.0, weight_decay=0.0, clip_norm=0.1)
    np.testing.assert_allclose(clipped["head"], [0.4 * 0.1 / norm], rtol=1e-5)
    (free,) = updates(1, learning_rate=1.0, weight_decay=0.0, clip_norm=10.0)
    np.testing.assert_allclose(free["head"], [0.4], rtol=1e-6)


def test_multipliers_slow_what_lies_under_their_path():
    (got,) = updates(1, learning_rate=1.0, weight_decay=0.0, multipliers="backbone=0.1,head=0")
    np.testing.assert_allclose(got["backbone"]["layer1"], [-0.03, -0.01], rtol=1e-5)
    np.testing.assert_array_equal(got["head"], [0.0])
    (later,) = updates(1, learning_rate=1.0, weight_decay=0.0, multipliers="backbone=0.1,layer1=2")
    np.testing.assert_allclose(later["backbone"]["layer1"], [-0.6, -0.2], rtol=1e-5)


@pytest.mark.parametrize("text", ["backbone", "backbone=", "=0.1", "backbone=x", "backbone=-1", "a=1,,b=2", "a=inf"])
def test_multipliers_that_cannot_be_read_are_refused(text):
    with pytest.raises(UserError, match="config.optim.multipliers has .*; write PATH=FACTOR"):
        multipliers(text)


def test_a_path_is_named_once():
    with pytest.raises(UserError, match="config.optim.multipliers names 'backbone' twice; name it once"):
        multipliers("backbone=0.1, backbone=0.2")


def test_a_multiplier_of_no_parameter_is_refused():
    check_paths(config(multipliers="backbone=0.1,layer1=2"), PARAMS)
    with pytest.raises(
        UserError, match="multipliers names 'neck', which is in no parameter.*begin with backbone, head"
    ):
        check_paths(config(multipliers="neck=0.1"), PARAMS)


def test_drops_by_path_stand_where_every_so_manieth_epoch_begins():
    """Ten epochs of 4 steps: factor 0.1^floor(e / 3) in epoch e, counted from 1, of the last path that is named."""
    got = updates(40, learning_rate=1.0, weight_decay=0.0, momentum=0.0, schedule="step", drop_epochs=(5.0,),
        drop_every="backbone=7,layer1=3", multipliers="backbone=2")  # fmt: skip
    epochs = np.repeat(np.arange(1, 11), 4)
    layer1 = np.array([step["backbone"]["layer1"][0] for step in got])
    np.testing.assert_allclose(layer1, -0.6 * 0.1 ** (epochs // 3), rtol=1e-4)
    head = np.array([step["head"][0] for step in got])
    np.testing.assert_allclose(head, 0.4 * 0.1 ** (epochs > 5), rtol=1e-4)


def test_a_drop_in_every_epoch_begins_with_the_first():
    got = updates(5, learning_rate=1.0, weight_decay=0.0, momentum=0.0, schedule="step", drop_every="head=1")
    np.testing.assert_allclose([step["head"][0] for step in got], [0.04] * 4 + [0.004], rtol=1e-5)


@pytest.mark.parametrize("text", ["head", "head=0", "head=2.5", "=3", "head=nan", "head=inf", "head=-4"])
def test_drops_by_path_that_cannot_be_read_are_refused(text):
    with pytest.raises(UserError, match="config.optim.drop_every has .*; write PATH=EPOCHS with a whole number"):
        drop_periods(config(schedule="step", drop_every=text))


def test_drops_by_path_need_a_parameter():
    with pytest.raises(UserError, match="drop_every names 'neck', which is in no parameter"):
        check_paths(config(schedule="step", drop_every="neck=3"), PARAMS)


def rates(**changes) -> np.ndarray:
    """The rate in every step of 10 epochs of 4 steps."""
    schedule = rate_schedule(config(learning_rate=0.5, **changes), steps_per_epoch=4)
    if not callable(schedule):
        return np.full(40, schedule)
    return np.asarray(jax.jit(jax.vmap(schedule))(np.arange(40)), np.float64)


def test_a_constant_rate():
    np.testing.assert_array_equal(rates(), 0.5)


def test_warm_up_is_linear_and_then_the_rate_is_reached():
    np.testing.assert_allclose(rates(warmup_steps=4, warmup_from=0.2)[:6], [0.1, 0.2, 0.3, 0.4, 0.5, 0.5], rtol=1e-6)


def test_cosine_ends_with_the_run():
    got = rates(schedule="cosine", cosine_end=0.1)
    want = 0.5 * (0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * np.arange(40) / 40)))
    np.testing.assert_allclose(got, want, rtol=1e-5)
    warm = rates(schedule="cosine", warmup_steps=8)
    np.testing.assert_allclose(warm[8:], 0.25 * (1 + np.cos(np.pi * np.arange(32) / 32)), rtol=1e-4, atol=1e-7)


def test_steps_drop_after_epochs_of_the_run_whatever_the_warm_up():
    want = np.repeat([0.5, 0.05, 0.005], [20, 8, 12])
    np.testing.assert_allclose(rates(schedule="step", drop_epochs=(5.0, 7.0)), want, rtol=1e-5)
    warm = rates(schedule="step", drop_epochs=(5.0, 7.0), warmup_steps=4)
    np.testing.assert_allclose(warm[4:], want[4:], rtol=1e-5)
