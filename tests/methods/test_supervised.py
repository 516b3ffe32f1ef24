import jax
import numpy as np
import pytest

from ltpml_jax.methods import losses, supervised
from ltpml_jax.methods.base import Context, Keys, Plan
from ltpml_jax.methods.priors import Prior
from tests.helpers.compiled import Compiled, compiled

losses, supervised = map(Compiled, (losses, supervised))
DB = losses.DBSettings(0.05, 2.0, 0.1, 10.0, 0.2)
PRIOR = Prior(np.float32([30, 5, 1]), np.array(50, np.float32))
LABEL = np.float32([[1, 0, 0], [0, 1, 1]])
LOGITS = np.float32([[0.3, -1.0, 2.0], [0.0, 1.0, -2.0]])
METHODS = {
    "bce": (supervised.bce(Plan(1, 2)), lambda: losses.bce(LOGITS, LABEL)),
    "db_focal": (supervised.db_focal(DB, Plan(1, 2)), lambda: losses.db_focal(LOGITS, LABEL, PRIOR, DB)),
}


def context(state: Prior) -> Context:
    key = jax.random.key(0)
    states, writes = LABEL.astype(np.int8), np.ones(2, bool)
    images = np.ones((2, 4), np.float32)
    return Context(images, states, LABEL, np.array(0, np.int32), Keys(key, key, key), state, (), writes)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", METHODS)
def test_loss_is_the_mean_over_the_served_labels(name):
    method, want = METHODS[name]
    seen = []

    def forward(images, mask, key):
        seen.append((images, mask))
        return LOGITS, {"new": 1}

    loss, (carry, stats) = compiled(method.passes[0].loss)(forward, context(PRIOR), None)
    np.testing.assert_allclose(loss, want().mean(), rtol=1e-6)
    assert len(method.passes) == 1 and method.passes[0].when is None
    assert carry is None and stats == {"new": 1}
    assert seen[0][0].shape == (2, 4) and seen[0][1] is None


@pytest.mark.parametrize("name", METHODS)
def test_state_is_the_prior_and_does_not_change(name):
    method, _ = METHODS[name]
    shared, rows = method.init(LABEL, PRIOR)
    new, new_rows, diagnostics = method.update(context(shared), None)
    jax.tree.map(np.testing.assert_array_equal, new, PRIOR)
    assert diagnostics == {} and rows == new_rows == () and method.beliefs is None


def test_the_two_losses_differ():
    assert np.abs(METHODS["bce"][1]() - METHODS["db_focal"][1]()).max() > 0.1
