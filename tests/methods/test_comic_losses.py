"""COMIC's losses against plain sums written out by hand, and the properties that tie them to other losses."""

import jax
import numpy as np
import pytest
from scipy.special import expit

from ltpml_jax.methods import comic_losses
from ltpml_jax.methods.comic_losses import ComicSettings
from tests.helpers.compiled import compiled, gradient, value_and_gradient

mfm, rlc, htb = map(compiled, (comic_losses.mfm, comic_losses.rlc, comic_losses.htb))
associated, cooccurrence = map(compiled, (comic_losses.associated, comic_losses.cooccurrence))
head_tail_factor, init_rlc = map(compiled, (comic_losses.head_tail_factor, comic_losses.init_rlc))
COUNT = np.float32([40, 10, 4, 0])
LABELS = np.float32([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]])
LOGITS = np.float32([[0.3, -1.0, 2.0, -0.4], [4.0, 1.0, -2.0, 0.1], [-3.0, 2.5, 0.0, 5.0]])
EPOCH = np.array(1, np.int32)
CODE = ComicSettings()
PLAIN = ComicSettings(rlc_margin=0.0)


def slow_mfm(logits, labels, count, settings, share=None) -> np.ndarray:
    """The table of the definition, element by element."""
    out = np.zeros(labels.shape)
    for (b, c), y in np.ndenumerate(np.asarray(labels)):
        factor = (1 - np.log(max(count[c], 1) / max(count))) ** settings.exponent
        p = 1 / (1 + np.exp(-float(logits[b, c])))
        q = min(1 - p + settings.clip, 1)
        if share is not None:
            p, q = p * (1 - share[b][c]), min(q if share[b][c] == 0 else 1.2 * q, 1)
        sure = p if y else q
        gamma = settings.gamma_pos + settings.weight_pos * factor
        if not y:
            gamma = settings.gamma_neg + settings.weight_neg * factor
        out[b, c] = -np.log(max(sure, 1e-8)) * (1 - sure) ** gamma * (factor if settings.class_weight else 1)
    return out


@pytest.mark.parametrize(
    "settings",
    [
        CODE,
        ComicSettings(gamma_neg=4.0, exponent=1 / 6),
        ComicSettings(gamma_pos=1.0, weight_pos=0.5, clip=0.0, class_weight=False),
    ],
)
def test_mfm_by_element(settings):
    got = mfm(LOGITS, LABELS, COUNT, settings)
    np.testing.assert_allclose(got, slow_mfm(LOGITS, LABELS, COUNT, settings), rtol=2e-5, atol=1e-7)


def test_no_gradient_flows_through_the_focal_weight():
    """One positive: the slope of -ght log p times the constant (1 - p)^2 is -ght (1 - p)^3."""
    settings, one = ComicSettings(gamma_pos=2.0), np.float32([[1]])
    grad = gradient(lambda z: mfm(z, one, np.float32([3]), settings).sum())(np.float32([[0]]))
    np.testing.assert_allclose(grad, [[-0.125]], rtol=1e-6)


def test_the_factor_is_one_for_the_largest_class_and_finite_for_an_empty_one():
    np.testing.assert_allclose(head_tail_factor(COUNT, 1.0), 1 + np.log([1, 4, 10, 40]), rtol=1e-6)
    np.testing.assert_array_equal(head_tail_factor(np.zeros(3, np.float32), 1 / 3), 1)


def test_mfm_without_classes_is_the_asymmetric_loss():
    """gamma- = 4, w = 0, a -> 0: -y log p - (1 - y) (p - m)+^4 log min(1 - p + m, 1)."""
    asl = ComicSettings(gamma_neg=4.0, weight_neg=0.0, exponent=1e-9)
    p = expit(LOGITS.astype(np.float64))
    q = np.minimum(1 - p + 0.05, 1)
    want = np.where(LABELS == 1, -np.log(p), -((1 - q) ** 4) * np.log(q))
    np.testing.assert_allclose(mfm(LOGITS, LABELS, COUNT, asl), want, rtol=2e-5, atol=1e-7)


def test_a_sure_false_prediction_keeps_its_slope_without_clipping():
    plain = ComicSettings(gamma_neg=0.0, weight_neg=0.0, clip=0.0, class_weight=False)
    logits, labels, count = np.float32([[14, 17]]), np.zeros((1, 2), np.float32), np.float32([3, 3])
    np.testing.assert_allclose(mfm(logits, labels, count, plain), logits, rtol=1e-6)
    slope = gradient(lambda z: mfm(z, labels, count, plain).sum())(logits)
    np.testing.assert_allclose(slope, 1.0, rtol=1e-5)


def test_discount_by_co_occurrence():
    """Classes 0 and 1 meet twice, 2 is alone; by columns, class 0's row is (3/5, 2/4, 0, 0)."""
    table = np.int32([[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]])
    counts = cooccurrence(table)
    np.testing.assert_array_equal(counts, [[3, 2, 0, 0], [2, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    labels = np.float32([[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    share = np.array([[6 / 11, 5 / 11, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(associated(labels, counts), share, rtol=1e-6)
    got = mfm(LOGITS, labels, COUNT, CODE, counts)
    np.testing.assert_allclose(got, slow_mfm(LOGITS, labels, COUNT, CODE, share), rtol=2e-5, atol=1e-7)


def test_rlc_without_corrections_is_mfm_by_the_number_of_positives():
    settings, state = PLAIN._replace(rlc_threshold=1.0), init_rlc(COUNT)
    loss, new = rlc(LOGITS, LABELS, EPOCH, COUNT, state, settings, 3.0)
    want = mfm(LOGITS, LABELS, COUNT, settings._replace(exponent=1 / 6)).sum() * 3 / 3
    np.testing.assert_allclose(loss, want, rtol=1e-6)
    np.testing.assert_array_equal(new.distribution, COUNT)


def test_rlc_recalls_what_is_likely_and_more_so_than_its_class():
    """0.98 of class 0 and 0.99 of class 3 pass 0.7 and the batch's mean; 0.88 and 0.92 do as well."""
    loss, new = rlc(LOGITS, LABELS, EPOCH, COUNT, init_rlc(COUNT), PLAIN, 32.0)
    corrected = np.float32([[1, 0, 1, 1], [1, 1, 0, 0], [0, 1, 0, 1]])
    np.testing.assert_array_equal(new.distribution, COUNT + 1)
    want = mfm(LOGITS, corrected, new.distribution, CODE._replace(exponent=1 / 6)).sum() * 32 / 7
    np.testing.assert_allclose(loss, want, rtol=1e-6)
    flat = np.full((3, 4), 3, np.float32)  # likely, but no more than the class's mean
    assert rlc(flat, LABELS, EPOCH, COUNT, init_rlc(COUNT), PLAIN, 3.0)[1].distribution.tolist() == COUNT.tolist()


def test_the_margin_is_that_of_observed_positives_alone():
    loss, _ = rlc(LOGITS, LABELS, EPOCH, COUNT, init_rlc(COUNT), CODE, 1.0)
    same, _ = rlc(LOGITS - LABELS, LABELS, EPOCH, COUNT, init_rlc(COUNT), PLAIN, 1.0)
    np.testing.assert_allclose(loss, same, rtol=1e-6)


def test_the_dynamic_counts_start_again_in_each_epoch_and_wait_for_the_first():
    def counts(epoch: int, state):
        return rlc(LOGITS, LABELS, np.array(epoch, np.int32), COUNT, state, PLAIN, 3.0)

    loss, start = counts(0, init_rlc(COUNT))
    assert loss == 0 and jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), start, init_rlc(COUNT)))
    once = counts(1, start)[1]
    twice = counts(1, once)[1]
    again = counts(2, twice)[1]
    np.testing.assert_array_equal(twice.distribution, COUNT + 2)
    np.testing.assert_array_equal(again.distribution, once.distribution)
    assert (int(once.epoch), int(again.epoch)) == (1, 2)


def test_the_paper_compares_with_the_past():
    settings = PLAIN._replace(pc_mode="ema")
    _, first = rlc(LOGITS, LABELS, EPOCH, COUNT, init_rlc(COUNT), settings, 3.0)
    np.testing.assert_allclose(first.average, 0.1 * expit(LOGITS).mean(0), rtol=1e-5)
    np.testing.assert_array_equal(first.distribution, COUNT + 1)
    sure = first._replace(average=np.float32([0.999, 0, 0.999, 0.999]))
    _, second = rlc(LOGITS, LABELS, EPOCH, COUNT, sure, settings, 3.0)
    np.testing.assert_array_equal(second.distribution - first.distribution, [0, 1, 0, 0])


def test_nothing_is_nan_without_positives():
    nothing, count, counts = (np.zeros(shape, np.float32) for shape in ((3, 4), 4, (4, 4)))
    at = init_rlc(count)

    def total(logits):
        def loss(z):
            return mfm(z, nothing, count, CODE, counts).sum()

        recalled, _ = rlc(logits, nothing, EPOCH, count, at, CODE, 3.0)
        return recalled + htb(logits, -logits, logits, loss)[0]

    both = value_and_gradient(total)
    for logits in (LOGITS, -50 + nothing, 200 + nothing):
        value, grad = both(logits)
        assert np.isfinite(value) and np.isfinite(grad).all()


def test_htb_by_hand():
    def loss(logits):
        return mfm(logits, LABELS, COUNT, CODE).sum()

    head, tail, balanced = LOGITS, LOGITS[::-1], 0.5 * LOGITS
    by_head, by_tail = float(loss(head)) ** 2, float(loss(tail)) ** 2
    kappa = by_head / (by_head + by_tail)
    softmax = [np.exp(z.astype(np.float64)) for z in (head, tail, balanced)]
    softmax = [(one / one.sum(1, keepdims=True)).astype(np.float32) for one in softmax]
    want = kappa * loss(softmax[0] * softmax[2]) + (1 - kappa) * loss(softmax[1] * softmax[2])
    value, weight = htb(head, tail, balanced, loss)
    np.testing.assert_allclose([value, weight], [want, kappa], rtol=1e-5)


@pytest.mark.parametrize("detach", [False, True])
def test_head_and_tail_learn_through_kappa_unless_it_is_detached(detach):
    def loss(logits):
        return mfm(logits, LABELS, COUNT, CODE).sum()

    by_head, by_tail, by_balanced = gradient(lambda *z: htb(*z, loss, detach)[0], (0, 1, 2))(LOGITS, -LOGITS, LOGITS)
    assert np.abs(by_balanced).max() > 1e-3
    for grad in (by_head, by_tail):
        assert (np.abs(grad).max() == 0) == detach
