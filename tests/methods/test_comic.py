"""COMIC's step: which logits enter which loss, what is kept, and its settings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltpml_jax.methods import comic, comic_losses, comic_network
from ltpml_jax.methods.base import Plan
from ltpml_jax.methods.comic_losses import ComicSettings, init_rlc
from ltpml_jax.methods.comic_network import Branches, ComicOutputs
from tests.helpers.compiled import Compiled, compiled, gradient

comic = Compiled(comic)
mfm, rlc, htb = map(compiled, (comic_losses.mfm, comic_losses.rlc, comic_losses.htb))
moving_mean, normalised_logits = map(compiled, (comic_network.moving_mean, comic_network.normalised_logits))

SETTINGS = ComicSettings(feature_width=4, htb_weight=0.5, mfm_weight=2.0)
STATES = jnp.array([[1, 2, 0, 0], [0, 2, 1, 0], [3, 0, 2, 0]], jnp.int8)
LABELS = jnp.array([[1.0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0]])


def made_outputs() -> ComicOutputs:
    rng = np.random.default_rng(2)

    def three(*shape: int) -> Branches:
        return Branches(*(jnp.asarray(rng.normal(size=shape), jnp.float32) for _ in range(3)))

    return ComicOutputs(three(3, 4), three(3, 4), three(4, 4))


def test_counts_are_those_of_observed_labels():
    """State 3, unknown, is none."""
    shared = comic.init(STATES, SETTINGS._replace(cooc=True))
    np.testing.assert_array_equal(shared.count, [1, 2, 2, 0])
    assert shared.cooc is not None
    np.testing.assert_array_equal(np.diag(shared.cooc), shared.count)
    assert float(shared.cooc[0, 1]) == 1 and comic.init(STATES, SETTINGS).cooc is None
    assert [vector.shape for vector in shared.moving] == [(4,)] * 3


def test_the_sum_of_the_three_branches():
    """MFM reads plain logits, RLC moved ones, HTB the moved ones of head and tail."""
    outputs, shared = made_outputs(), comic.init(STATES, SETTINGS)
    total, carry = comic.objective(outputs, LABELS, jnp.int32(1), shared, SETTINGS)
    count = shared.count

    def loss(logits):
        return mfm(logits, LABELS, count, SETTINGS).sum()

    moving = [moving_mean(jnp.zeros(4), features) for features in outputs.features]
    head = normalised_logits(outputs.features.head, outputs.weights.head, moving=moving[0], shift=-1.0)
    tail = normalised_logits(outputs.features.tail, outputs.weights.tail, moving=moving[1], shift=2.0)
    moved = (head, tail, outputs.logits.balanced)
    corrected = [rlc(z, LABELS, jnp.int32(1), count, init_rlc(count), SETTINGS, 3.0) for z in moved]
    balance, kappa = htb(*moved, loss)
    want = 2 * sum(map(loss, outputs.logits)) + 0.2 * sum(value for value, _ in corrected) + 0.5 * balance
    np.testing.assert_allclose(total, want, rtol=1e-5)
    np.testing.assert_allclose(carry.kappa, kappa, rtol=1e-6)
    new = carry.shared
    jax.tree.map(np.testing.assert_allclose, new.moving, Branches(*moving))
    for got, (_, state) in zip(new.correctors, corrected, strict=True):
        np.testing.assert_array_equal(got.distribution, state.distribution)


def test_the_moving_vectors_are_constant_and_the_balanced_loss_reaches_the_head():
    outputs, shared = made_outputs(), comic.init(STATES, SETTINGS)
    only = SETTINGS._replace(mfm_weight=0.0, rlc_weight=0.0)

    def total(features, settings):
        return comic.objective(outputs._replace(features=features), LABELS, jnp.int32(1), shared, settings)[0]

    grad = gradient(total)(outputs.features, only)
    assert np.abs(grad.head).max() > 0 and np.abs(grad.tail).max() > 0 and not np.any(grad.balanced)
    detached = gradient(total)(outputs.features, only._replace(detach_kappa=True))
    assert not any(np.any(leaf) for leaf in detached)


def test_diagnostics_count_this_epochs_recalled_labels():
    shared = comic.init(STATES, SETTINGS)
    seen = init_rlc(shared.count)._replace(distribution=shared.count + 2)
    carry = comic.ComicCarry(shared._replace(correctors=Branches(seen, seen, seen)), jnp.array(0.4))
    np.testing.assert_allclose(comic.diagnostics(carry)["recalled"], 8)


def test_predictions_begin_with_the_balanced_branch():
    method, outputs = comic.comic(SETTINGS, Plan(1, 3)), made_outputs()
    assert list(method.predictions) == ["balanced", "head", "tail"]
    for name, choose in method.predictions.items():
        np.testing.assert_array_equal(choose(outputs), getattr(outputs.logits, name))


def test_groups_must_divide_the_features():
    with pytest.raises(ValueError, match="config.comic.groups is 3; it must divide config.comic.feature_width.* 4"):
        comic.comic(SETTINGS._replace(groups=3), Plan(1, 3))
