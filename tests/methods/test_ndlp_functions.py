import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltpml_jax.methods import ndlp as parts
from tests.helpers.compiled import Compiled

parts = Compiled(parts)


def slow_select(loss: np.ndarray, hard: np.ndarray, r: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The definition, class by class; equal losses go by batch position."""
    reliable = np.zeros(len(loss), bool)
    for j in range(hard.shape[1]):
        members = [b for b in range(len(loss)) if hard[b, j]]
        if members:
            k = int(np.clip(np.ceil(r[j] * np.float32(len(loss)) * alpha), 1, len(members)))
            reliable[sorted(members, key=lambda b: (loss[b], b))[:k]] = True
    return reliable


def random_cases(cases: int, batch: int, classes: int, ties: bool):
    rng = np.random.default_rng(ties)
    loss = rng.integers(0, 4, (cases, batch)) if ties else rng.random((cases, batch))
    hard = rng.random((cases, batch, classes)) < rng.choice([0, 0.1, 0.4, 1], (cases, 1, classes))
    hard[rng.random((cases, batch)) < 0.3] = 0  # all-zero rows
    r = rng.dirichlet(np.full(classes, 0.3), cases)
    hard[0] = 0
    return [array.astype(np.float32) for array in (loss, hard, r, rng.uniform(0.1, 2, cases))]


def test_sharpen_by_hand():
    got = parts.sharpen(jnp.array([[0.5, 0.25, 0.25, 0], [0, 0, 0, 0], [0, 1, 0, 0]]), 3.0)
    np.testing.assert_allclose(got, [[0.8, 0.1, 0.1, 0], [0, 0, 0, 0], [0, 1, 0, 0]], rtol=1e-6)


def test_sharpen_does_not_underflow():
    got = parts.sharpen(jnp.array([[1e-20, 2e-20, 0.0]]), 3.0)  # cubes below the smallest float32
    np.testing.assert_allclose(got, [[1 / 9, 8 / 9, 0]], rtol=1e-6)


def test_class_thresholds_by_hand_and_without_candidates():
    got = parts.class_thresholds(jnp.array([3.0, 0.5, 0.0]), jnp.array([6.0, 5.0, 0.0]))
    np.testing.assert_allclose(got, [0.5, 0.1, 0.0], rtol=1e-6)


def test_hard_labels_are_strict():
    sharp = jnp.array([[0.5, 0.25, 0.25], [0.25, 0.75, 0.0], [0.1, 0.1, 0.1]])
    got = parts.hard_labels(sharp, jnp.array([0.25, 0.25, 0.25]))
    np.testing.assert_array_equal(got, [[1, 0, 0], [0, 1, 0], [0, 0, 0]])
    np.testing.assert_array_equal(parts.hard_labels(sharp, 0.5), [[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    assert got.dtype == sharp.dtype


def test_select_reliable_by_hand():
    hard = jnp.array([[1, 0], [1, 0], [1, 1], [0, 1], [0, 0]])
    loss = jnp.array([0.3, 0.1, 0.2, 0.5, 0.0])
    # B r alpha = 2 and 0.5: two of class 0 (1 and 2), one of class 1 (2); the all-zero row has no class.
    got = parts.select_reliable(loss, hard, jnp.array([0.8, 0.2]), jnp.float32(0.5))
    np.testing.assert_array_equal(got, [False, True, True, False, False])


@pytest.mark.parametrize("ties", [False, True])
def test_select_reliable_equals_the_loop_over_classes(ties):
    cases = random_cases(300, 16, 6, ties)
    got = np.asarray(jax.jit(jax.vmap(parts.select_reliable))(*cases))
    want = np.stack([slow_select(*case) for case in zip(*cases, strict=True)])
    np.testing.assert_array_equal(got, want)
    assert not want[0].any() and 0.2 < want.mean() < 0.8


def test_select_reliable_follows_a_permuted_batch():
    loss, hard, r, alpha = (case[7] for case in random_cases(8, 32, 5, ties=False))
    order = np.random.default_rng(5).permutation(32)
    straight = np.asarray(parts.select_reliable(loss, hard, r, alpha))
    permuted = np.asarray(parts.select_reliable(loss[order], hard[order], r, alpha))
    assert 0 < straight.sum() < 32
    np.testing.assert_array_equal(permuted, straight[order])


def test_select_reliable_is_empty_without_hard_labels():
    assert not parts.select_reliable(jnp.ones(4), jnp.zeros((4, 3)), jnp.ones(3) / 3, jnp.float32(1)).any()


def test_pair_reliable_is_uniform_inside_the_set_only():
    reliable = jnp.array([False, True, False, True, True, False])
    keys = jax.random.split(jax.random.key(0), 6000)
    pairs = np.asarray(jax.jit(jax.vmap(lambda key: parts.pair_reliable(key, reliable)))(keys))
    np.testing.assert_array_equal(pairs[:, [0, 2, 5]], np.tile([0, 2, 5], (6000, 1)))
    permutations, counts = np.unique(pairs[:, [1, 3, 4]], axis=0, return_counts=True)
    assert len(permutations) == 6 and (np.sort(permutations, 1) == [1, 3, 4]).all()
    chi2 = ((counts - 1000) ** 2 / 1000).sum()
    assert chi2 < 20.5  # the 0.999 quantile at 5 degrees of freedom


@pytest.mark.parametrize("reliable", [[False] * 4, [False, False, True, False]])
def test_pair_reliable_of_none_or_one_is_the_identity(reliable):
    got = parts.pair_reliable(jax.random.key(0), jnp.array(reliable))
    np.testing.assert_array_equal(got, np.arange(4))


@pytest.mark.usefixtures("least_optimised")
def test_mixup_weight_is_the_folded_beta():
    keys = jax.random.split(jax.random.key(1), 20_000)
    weight = np.asarray(jax.jit(jax.vmap(lambda key: parts.mixup_weight(key, 4.0)))(keys))
    assert weight.min() >= 0.5 and weight.max() <= 1
    # E max(l, 1 - l) = 1/2 + E|l - 1/2| = 1/2 + 35/256 for Beta(4, 4)
    np.testing.assert_allclose(weight.mean(), 0.5 + 35 / 256, atol=0.003)


def test_mixup_of_images_and_labels():
    images = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    got = parts.mixup(images, jnp.array([2, 1, 0]), jnp.float32(0.75))
    np.testing.assert_allclose(got[0], 0.75 * images[0] + 0.25 * images[2])
    np.testing.assert_allclose(got[1], images[1])
    np.testing.assert_allclose(
        parts.mixup(jnp.eye(3), jnp.array([1, 2, 0]), jnp.float32(0.6))[0], [0.6, 0.4, 0], rtol=1e-6
    )


def test_finetune_distribution_by_hand():
    # m = (3/4, 1/4, 0 -> r): ratios 0.5 / 0.75, 0.3 / 0.25, 1.
    got = parts.finetune_distribution(jnp.array([0.5, 0.3, 0.2]), jnp.array([[1.0, 0, 0], [0.5, 0.5, 0]]))
    want = np.array([0.5 / 0.75, 0.3 / 0.25, 1.0])
    np.testing.assert_allclose(got, want / want.sum(), rtol=1e-5)


def test_finetune_distribution_of_an_all_zero_batch_is_uniform():
    got = parts.finetune_distribution(jnp.array([0.7, 0.2, 0.1]), jnp.zeros((4, 3)))
    np.testing.assert_allclose(got, np.full(3, 1 / 3), rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_correct_labels_keeps_rows_normalised_inside_the_candidates(scale):
    rng = np.random.default_rng(0)
    candidates = (rng.random((64, 10)) < 0.4).astype(np.float32)
    candidates[:, 0] = np.maximum(candidates[:, 0], candidates.sum(1) == 0)
    candidates[-1] = 0
    confidence = candidates / np.maximum(candidates.sum(1, keepdims=True), 1)
    logits = (scale * rng.uniform(-1, 1, (64, 10))).astype(np.float32)
    got = np.asarray(parts.correct_labels(*map(jnp.asarray, (confidence, logits, candidates)), rate=0.1))
    np.testing.assert_allclose(got[:-1].sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(got[candidates == 0], 0)
    np.testing.assert_array_equal(got[-1], 0)
    allowed = np.where(candidates > 0, logits, -np.inf)[:-1].astype(float)
    softmax = np.exp(allowed - allowed.max(1, keepdims=True))
    softmax /= softmax.sum(1, keepdims=True)
    np.testing.assert_allclose(got[:-1], 0.9 * confidence[:-1] + 0.1 * softmax, rtol=1e-4)


def test_candidate_softmax_survives_a_far_larger_logit_outside_the_candidates():
    got = parts.candidate_softmax(jnp.array([[1e4, -1e4, -1e4 + 1]]), jnp.array([[0, 1, 1]]))
    np.testing.assert_allclose(got, [[0, 1 / (1 + np.e), np.e / (1 + np.e)]], rtol=1e-3)


def test_partners_of_blocks_stay_within_them_and_one_block_is_the_whole_batch():
    reliable = np.random.default_rng(0).random(24) < 0.6
    key = jax.random.key(3)
    whole = parts.pair_reliable(key, jnp.array(reliable))
    np.testing.assert_array_equal(parts.pair_reliable(key, jnp.array(reliable)[None])[0], whole)
    blocks = np.asarray(parts.pair_reliable(key, jnp.array(reliable).reshape(3, 8)))
    for inside, partner in zip(reliable.reshape(3, 8), blocks, strict=True):
        np.testing.assert_array_equal(partner[~inside], np.flatnonzero(~inside))
        np.testing.assert_array_equal(np.sort(partner[inside]), np.flatnonzero(inside))
    images = np.random.default_rng(1).random((24, 2, 2)).astype(np.float32)
    chosen = (blocks + 8 * np.arange(3)[:, None]).ravel()
    np.testing.assert_allclose(parts.mixup(images, blocks, 0.7), 0.7 * images + 0.3 * images[chosen], rtol=1e-6)
