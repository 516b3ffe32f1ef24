import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltpml_jax.methods import asymmetric, losses
from ltpml_jax.methods.asymmetric import ASLSettings, FocalSettings, PASLSettings
from ltpml_jax.methods.base import Plan
from ltpml_jax.methods.priors import Prior
from tests.helpers import one_step, plain
from tests.helpers.compiled import Compiled, gradient, value_and_gradient

asymmetric = Compiled(asymmetric)
losses = Compiled(losses)

PLAN = Plan(1, 4)
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (5, 4))
TERNARY = RNG.choice([1, 0, -1], p=[0.2, 0.2, 0.6], size=(5, 4))  # -1: unannotated
LABELS = (TERNARY == 1).astype(float)
SHARE = np.array([0.9, 0.5, 0.2, 0.01])


def asl(logits, settings: ASLSettings, labels=LABELS):
    return asymmetric.asl_loss(jnp.asarray(logits), jnp.asarray(labels), settings).sum()


def pasl(logits, settings: PASLSettings):
    positive, negative = (jnp.asarray(kind == TERNARY, float) for kind in (1, 0))
    return asymmetric.pasl_loss(jnp.asarray(logits), positive, negative, jnp.asarray(SHARE), settings).sum()


def test_asl_by_hand():
    """p = 1/2: a negative has q = 0.55 and weighs 0.45^4; a positive weighs 1 at gamma 0."""
    got = asymmetric.asl_loss(jnp.zeros((1, 2)), jnp.array([[0.0, 1.0]]), ASLSettings())
    np.testing.assert_allclose(got, [[-np.log(0.55) * 0.45**4, np.log(2)]], rtol=1e-6)


@pytest.mark.parametrize("through", [False, True])
def test_asl_without_exponents_and_clip_is_the_sum_of_bce(through):
    settings = ASLSettings(0.0, 0.0, 0.0, through)
    want = losses.bce(jnp.asarray(LOGITS), jnp.asarray(LABELS)).sum()
    got, grad = value_and_gradient(asl)(jnp.asarray(LOGITS), settings)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_allclose(grad, plain.sigmoid(LOGITS) - LABELS, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("numbers", [(4.0, 0.0, 0.05), (3.0, 1.0, 0.2), (2.0, 2.0, 0.0)])
def test_asl_and_its_gradients_are_those_of_the_definition(numbers):
    with jax.enable_x64(True):
        logits, labels = jnp.asarray(LOGITS), jnp.asarray(LABELS)
        got, through = value_and_gradient(asl)(logits, ASLSettings(*numbers, focal_gradient=True), labels)
        detached = gradient(asl)(logits, ASLSettings(*numbers), labels)
    np.testing.assert_allclose(got, plain.asl(LOGITS, LABELS, *numbers), rtol=1e-10)
    np.testing.assert_allclose(through, plain.slopes(lambda z: plain.asl(z, LABELS, *numbers), LOGITS), atol=1e-8)
    gamma_neg, gamma_pos, clip = numbers
    p = plain.sigmoid(LOGITS)
    q = np.minimum(1 - p + clip, 1)
    weight = np.where(LABELS == 1, (1 - p) ** gamma_pos, (1 - q) ** gamma_neg)
    slope = np.where(LABELS == 1, p - 1, np.where(1 - p + clip < 1, p * (1 - p) / q, 0))
    np.testing.assert_allclose(detached, weight * slope, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("through", [False, True])
def test_saturated_logits_are_finite_and_below_the_cut_nothing_pulls(through):
    logits = jnp.array([[60.0, -60.0, 60.0, -60.0]])
    labels = jnp.array([[1.0, 0.0, 0.0, 1.0]])
    value, grad = value_and_gradient(asl)(logits, ASLSettings(0.0, 0.0, 0.0, through), labels)
    np.testing.assert_allclose(value, 2 * -np.log(1e-8), rtol=1e-5)
    np.testing.assert_array_equal(grad, np.zeros((1, 4)))


def test_a_focal_gradient_that_would_be_infinite_is_refused():
    asymmetric.asl(ASLSettings(gamma_pos=0.5), PLAN)
    with pytest.raises(ValueError, match="config.asl.gamma_pos is 0.5.*0, or 1 or more"):
        asymmetric.asl(ASLSettings(gamma_pos=0.5, focal_gradient=True), PLAN)


def test_focal_conventions_by_hand():
    """Logit 0: bce log 2, 1 - exp(-bce) = 1/2."""
    got = [asymmetric.focal_loss(jnp.zeros((1, 1)), jnp.ones((1, 1)), name) for name in ("comic", "db", "hill")]
    np.testing.assert_allclose(np.ravel(got), np.log(2) / 4 * np.array([0.25, 2, 1]), rtol=1e-6)


def test_which_focal_gradients_pass_through_the_weight():
    logits, labels = jnp.asarray(LOGITS, jnp.float32), jnp.asarray(LABELS, jnp.float32)

    def pull(convention):
        return gradient(lambda z: asymmetric.focal_loss(z, labels, convention).sum())(logits)

    np.testing.assert_allclose(pull("db"), 8 * pull("comic"), rtol=1e-5)
    through = plain.slopes(lambda z: plain.asl(z, LABELS, 2.0, 2.0, 0.0), LOGITS)
    np.testing.assert_allclose(pull("comic"), 0.25 * through, rtol=1e-3, atol=1e-5)
    p = plain.sigmoid(LOGITS)
    np.testing.assert_allclose(pull("hill"), np.square(p - LABELS) * (p - LABELS), rtol=1e-4, atol=1e-6)


STATES = np.array([[1, 0, 2], [3, 2, 0]])
OBSERVED = np.array([[1.0, 0, 1], [0, 1, 0]])
ANSWER = np.array([[0.3, -1.0, 2.0], [0.5, 1.0, -2.0]])


@pytest.mark.parametrize(("name", "reduce"), [("comic", np.sum), ("db", np.mean), ("hill", np.sum)])
def test_the_focal_method_sums_or_averages_as_its_convention(name, reduce):
    got = one_step.loss(asymmetric.focal(FocalSettings(name), PLAN), ANSWER, one_step.context(STATES))
    want = asymmetric.focal_loss(jnp.asarray(ANSWER), jnp.asarray(OBSERVED), name)
    np.testing.assert_allclose(got, reduce(np.asarray(want)), rtol=1e-5)


def test_class_balanced_weights():
    """By counts 30, 5 and 1: what an image of a class is worth, 1 for a class of one image."""
    want = 0.1 / (1 - 0.9 ** np.array([30, 5, 1]))
    np.testing.assert_allclose(losses.class_balanced_weight(one_step.PRIOR, 0.9), want, rtol=1e-5)
    np.testing.assert_allclose(losses.class_balanced_weight(one_step.PRIOR, 0.0), np.ones(3))
    empty = Prior(jnp.zeros(1), jnp.array(9.0))
    np.testing.assert_allclose(losses.class_balanced_weight(empty, 0.9), [1.0], rtol=1e-5)
    seen = one_step.context(STATES)
    got = one_step.loss(asymmetric.focal(FocalSettings("db", 0.9), PLAN), ANSWER, seen)
    elements = np.asarray(asymmetric.focal_loss(jnp.asarray(ANSWER), jnp.asarray(OBSERVED), "db"))
    np.testing.assert_allclose(got, (elements * want).mean(), rtol=1e-5)


def test_the_asl_method_sums():
    got = one_step.loss(asymmetric.asl(ASLSettings(), PLAN), ANSWER, one_step.context(STATES))
    np.testing.assert_allclose(got, plain.asl(ANSWER, OBSERVED, 4.0, 0.0, 0.05), rtol=1e-5)


@pytest.mark.parametrize("mode", ["negative", "ignore", "ignore_normalize_classes", "selective"])
@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_pasl_modes_are_those_of_the_definition(mode, clip):
    known = (TERNARY >= 0).astype(float)
    weight = {
        "negative": np.ones_like(known),
        "ignore": known,
        "ignore_normalize_classes": known * (1 + 1 / (1 + known.sum(1, keepdims=True))),
        "selective": plain.selective(LOGITS, TERNARY, 5, SHARE > 0.8),
    }[mode]
    settings = PASLSettings(mode, 0.0, 1.0, 4.0, clip, 1, 0.8)
    assert 0 < (plain.selective(LOGITS, TERNARY, 5, SHARE > 0.8) == 0).sum() < (TERNARY == -1).sum()
    with jax.enable_x64(True):
        got = pasl(LOGITS, settings)
    np.testing.assert_allclose(got, plain.pasl(LOGITS, TERNARY, (0.0, 1.0, 4.0), clip, weight), rtol=1e-10)


@pytest.mark.parametrize("mode", ["ignore", "selective"])
def test_ignored_labels_have_no_gradient(mode):
    settings = PASLSettings(mode, gamma_unannotated=0.0, top_k=1)
    grad = np.asarray(gradient(pasl)(jnp.asarray(LOGITS), settings))
    ignored = plain.selective(LOGITS, TERNARY, 5, SHARE > 1) == 0 if mode == "selective" else TERNARY == -1
    np.testing.assert_array_equal(grad == 0, ignored)


def test_ties_go_to_the_earlier_entry_and_more_than_all_is_all():
    unannotated = jnp.array([[1.0, 0.0], [1.0, 1.0]])
    got = asymmetric.likeliest(jnp.zeros((2, 2)), unannotated, PASLSettings(top_k=1))
    np.testing.assert_array_equal(got, [[True, False], [True, False]])
    every = asymmetric.likeliest(jnp.zeros((2, 2)), unannotated, PASLSettings(top_k=9))
    np.testing.assert_array_equal(every, unannotated > 0)
    assert not np.any(asymmetric.likeliest(jnp.zeros((2, 2)), unannotated, PASLSettings(top_k=0)))


@pytest.mark.parametrize("known", [False, True])
def test_known_negatives_count_as_annotated_where_the_settings_say_so(known):
    """Negatives and unknown labels: all unannotated, or the unknown ones only."""
    ternary = np.where(OBSERVED == 1, 1, np.where((STATES == 0) & known, 0, -1))
    settings = PASLSettings("negative", annotated_negatives=known)
    got = one_step.loss(asymmetric.pasl(settings, PLAN), ANSWER, one_step.context(STATES))
    want = plain.pasl(ANSWER, ternary, (0.0, 1.0, 4.0), 0.0, np.ones_like(ANSWER))
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_the_prior_threshold_ignores_classes_by_their_share_of_the_images():
    """Shares 0.6, 0.1, 0.02: above 0.5 is the first class, whose only unannotated label drops out."""
    settings = PASLSettings(top_k=0, prior_threshold=0.5)
    got = one_step.loss(asymmetric.pasl(settings, PLAN), ANSWER, one_step.context(STATES))
    ternary = np.where(OBSERVED == 1, 1, -1)
    weight = np.array([[1.0, 1, 1], [0, 1, 1]])
    np.testing.assert_allclose(got, plain.pasl(ANSWER, ternary, (0.0, 1.0, 4.0), 0.0, weight), rtol=1e-5)


@pytest.mark.parametrize("mode", ["ignore", "ignore_normalize_classes"])
def test_learning_from_positives_alone_is_refused(mode):
    asymmetric.pasl(PASLSettings(mode, annotated_negatives=True), PLAN)
    with pytest.raises(ValueError, match=f"config.pasl.mode is {mode}.*annotated_negatives"):
        asymmetric.pasl(PASLSettings(mode), PLAN)
