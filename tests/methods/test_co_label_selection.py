import jax.numpy as jnp
import numpy as np
import pytest

from ltpml_jax.methods import co_label_selection, losses
from ltpml_jax.methods.base import Plan
from ltpml_jax.methods.co_label_selection import CLSSettings, removed_share, selected_loss
from tests.helpers.compiled import Compiled, compiled, gradient, value_and_gradient
from tests.helpers.contexts import answers, context

losses, select_negatives = Compiled(losses), compiled(co_label_selection.select_negatives)

PLAN = Plan(20, 16)


def plain_selection(own: np.ndarray, peer: np.ndarray, positive: np.ndarray, high: float, low: float) -> np.ndarray:
    """The kept labels, positives among them, chosen one after another from lists."""
    entries = [place for place in np.ndindex(own.shape) if not positive[place]]
    entries = sorted(entries, key=lambda place: peer[place])[: int((1 - high) * len(entries) + 1e-6)]
    entries = sorted(entries, key=lambda place: -own[place])[: int((1 - low) * len(entries) + 1e-6)]
    kept = positive.copy()
    for place in entries:
        kept[place] = True
    return kept


def data(seed: int, rows: int = 16, classes: int = 9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits of two networks, and states."""
    rng = np.random.default_rng(seed)
    return *rng.normal(0, 2, (2, rows, classes)), (rng.random((rows, classes)) < 0.2).astype(np.int8) * 2


def step(logits: tuple[np.ndarray, np.ndarray], states: np.ndarray, epoch: int, settings: CLSSettings):
    """Loss, its gradient with respect to both networks' logits, and metrics."""
    method = co_label_selection.cls(settings, PLAN)
    given = context(states, epoch, *method.init(jnp.asarray(states), None))  # type: ignore[arg-type]

    def loss(logits):
        value, (carry, _) = method.passes[0].loss(answers(logits), given, None)
        return value, carry

    (value, carry), grads = value_and_gradient(loss, has_aux=True)(tuple(map(jnp.asarray, logits)))
    return value, grads, compiled(method.update)(given, carry)[2]


def test_a_selection_by_hand():
    """Of four negatives the other network's hardest is removed, of the three that are left the own easiest."""
    own, peer = jnp.array([[9.0, 0.5, 0.1], [0.4, 0.05, 9.0]]), jnp.array([[9.0, 0.1, 0.9], [0.2, 0.3, 9.0]])
    negatives = jnp.array([[False, True, True], [True, True, False]])
    kept = select_negatives(own, peer, negatives, 0.25, 0.34)
    np.testing.assert_array_equal(kept.mask, [[False, True, False], [False, False, False]])
    assert (int(kept.total), int(kept.after_high), int(kept.after_low)) == (4, 3, 1)
    kept = select_negatives(own, peer, negatives, 0.25, 0.33)
    np.testing.assert_array_equal(kept.mask, [[False, True, False], [True, False, False]])


def test_the_share_grows_with_finished_epochs():
    shares = [float(removed_share(0.2, epoch, 10)) for epoch in (0, 1, 5, 10, 11, 40)]
    np.testing.assert_allclose(shares, [0, 0.02, 0.1, 0.2, 0.2, 0.2], rtol=1e-6)
    assert float(removed_share(0.2, 1, 1)) == pytest.approx(0.2)


@pytest.mark.parametrize("epoch", [0, 3, 10, 19])
def test_a_step_is_that_of_plain_lists(epoch):
    first, second, states = data(epoch)
    settings = CLSSettings(tau_h=0.2, tau_l=0.3)
    value, grads, metrics = step((first, second), states, epoch, settings)
    share = min(epoch / 10, 1)
    each = [np.asarray(losses.bce(jnp.asarray(z), jnp.asarray(states > 0, float))) for z in (first, second)]
    kept = [plain_selection(own, peer, states > 0, 0.2 * share, 0.3 * share) for own, peer in (each, each[::-1])]
    want = sum(loss[mask].sum() / len(loss) for loss, mask in zip(each, kept, strict=True))
    np.testing.assert_allclose(value, want, rtol=1e-5)
    for z, grad, mask in zip((first, second), grads, kept, strict=True):
        np.testing.assert_allclose(grad, mask * (1 / (1 + np.exp(-z)) - (states > 0)) / len(z), rtol=1e-4, atol=1e-7)
    removed = (states == 0).sum() - [(mask & (states == 0)).sum() for mask in kept]
    assert [metrics["removed_high"] + metrics["removed_low"]] * 2 == removed.tolist()
    assert int(metrics["kept_by_both"]) == (kept[0] & kept[1] & (states == 0)).sum()
    assert (epoch == 0) == (int(metrics["removed_high"]) == 0) == (int(metrics["removed_low"]) == 0)


def test_without_selection_it_is_the_sum_of_bce_by_images_on_both_networks():
    first, second, states = data(1)
    value, grads, _ = step((first, second), states, 15, CLSSettings(tau_h=0.0, tau_l=0.0))
    labels = jnp.asarray(states > 0, float)
    want = sum(losses.bce(jnp.asarray(z), labels).sum() for z in (first, second)) / len(states)
    np.testing.assert_allclose(value, want, rtol=1e-6)
    plain = gradient(lambda z: losses.bce(z, labels).sum() / len(states))(jnp.asarray(second))
    np.testing.assert_allclose(grads[1], plain, rtol=1e-5, atol=1e-8)


def test_rows_that_are_left_out_are_not_counted():
    """Padding is outside of the negatives: it takes no place in the ranking and its loss none in the sum."""
    rng = np.random.default_rng(2)
    own, peer = jnp.asarray(rng.random((2, 12, 5)))
    negatives = jnp.asarray(rng.random((12, 5)) < 0.8)
    alone = select_negatives(own[:8], peer[:8], negatives[:8], 0.3, 0.2)
    padded = select_negatives(own, peer, negatives & (jnp.arange(12) < 8)[:, None], 0.3, 0.2)
    np.testing.assert_array_equal(padded.mask, np.pad(alone.mask, ((0, 4), (0, 0))))
    assert int(padded.total) == int(alone.total) == int(negatives[:8].sum())


@pytest.mark.parametrize("state", [0, 2])
def test_a_batch_without_negatives_or_without_positives_is_finite(state):
    first, second, states = data(3)
    value, grads, _ = step((first, second), np.full_like(states, state), 15, CLSSettings(tau_h=0.3, tau_l=0.3))
    assert np.isfinite(value) and all(np.isfinite(grad).all() for grad in grads)


def test_losses_outside_of_the_kept_labels_do_not_count():
    loss = jnp.array([[1.0, jnp.inf], [2.0, 4.0]])
    assert float(selected_loss(loss, jnp.array([[True, False], [True, True]]))) == 3.5
