"""Measures against values by hand, and the padded last batch."""

import jax
import numpy as np
import pytest

from ltpml_jax.data.feed import Feed
from ltpml_jax.data.labels import class_groups
from ltpml_jax.errors import UserError
from ltpml_jax.evaluation import metrics
from ltpml_jax.evaluation.prediction import predict_all
from ltpml_jax.methods import supervised
from ltpml_jax.methods.base import Plan
from ltpml_jax.state import make_mesh
from ltpml_jax.step import jit_predict

NAN = float("nan")


def test_average_precision_by_hand():
    # Ranked by logit, class 0 is right at places 1, 3 and 4: (1/1 + 2/3 + 3/4) / 3. Class 1 has no positive.
    logits = np.array([[4.0, 1.0, 0.0], [3.0, 2.0, 1.0], [2.0, 3.0, 2.0], [1.0, 4.0, 3.0]])
    labels = np.array([[1, 0, 1], [0, 0, 0], [1, 0, 0], [1, 0, 0]])
    expected = [100 * (1 + 2 / 3 + 3 / 4) / 3, NAN, 25.0]
    np.testing.assert_allclose(metrics.average_precision(logits, labels), expected)


def test_scores_by_hand():
    # Training counts make class 0 head, classes 1 and 4 medium, classes 2 and 3 tail; class 3 has no test positive.
    counts = np.array([100, 99, 19, 0, 20])
    labels = np.array([[1, 0, 0, 0, 1], [0, 1, 0, 0, 1], [1, 0, 1, 0, 0], [0, 1, 0, 0, 0]])
    logits = np.array([
        [2.0, -1.0, -1.0, 1.0, -4.0],
        [-1.0, 2.0, 1.0, -1.0, 1.0],
        [-2.0, 3.0, -2.0, -1.0, -2.0],
        [-3.0, -3.0, -3.0, -1.0, -3.0],
    ])  # fmt: skip
    got = metrics.scores(logits, labels, class_groups(counts))
    ap = np.array([100 * (1 + 2 / 3) / 2, 100 * (1 / 2 + 2 / 4) / 2, 100 / 3, 100 * (1 + 2 / 4) / 2])
    assert got["mAP_total"] == pytest.approx(ap.mean())
    assert got["mAP_head"] == pytest.approx(ap[0])
    assert got["mAP_medium"] == pytest.approx((ap[1] + ap[3]) / 2)
    assert got["mAP_tail"] == pytest.approx(ap[2])
    # True positives by class 1, 1, 0, 0, 1; false ones 0, 1, 1, 1, 0; missed 1, 1, 1, 0, 1.
    assert got["micro_F1"] == pytest.approx(100 * 2 * 3 / (2 * 3 + 3 + 4))
    assert got["macro_F1"] == pytest.approx(100 * (2 / 3 + 1 / 2 + 0 + 2 / 3) / 4)
    assert got["accuracy"] == pytest.approx(100 * (20 - 3 - 4) / 20)


def test_a_group_without_a_class_is_undefined():
    got = metrics.scores(np.array([[1.0], [-1.0]]), np.array([[1], [0]]), class_groups(np.array([50])))
    assert got["mAP_medium"] == got["mAP_total"] == 100.0
    assert np.isnan(got["mAP_head"]) and np.isnan(got["mAP_tail"])


def test_groups_by_the_positives_that_are_left_and_their_mean():
    precision = np.array([80.0, 60.0, 40.0, np.nan, 10.0])
    got = metrics.scores_by_positives_left(precision, np.array([100, 336, 99, 20, 19]))
    assert got == {"mAP_left_many": 70, "mAP_left_medium": 40, "mAP_left_few": 10, "mAP_left_average": 40}
    none_few = metrics.scores_by_positives_left(precision, np.array([100, 336, 99, 20, 20]))
    assert none_few["mAP_left_medium"] == 25
    assert np.isnan([none_few["mAP_left_few"], none_few["mAP_left_average"]]).all()


def test_where_no_label_is_known_everything_is_undefined():
    got = metrics.scores(np.ones((2, 2)), np.full((2, 2), 3), class_groups(np.array([5, 5])))
    assert np.isnan(list(got.values())).all()


def test_nothing_predicted_and_nothing_right_is_zero():
    got = metrics.scores(-np.ones((2, 2)), np.array([[1, 0], [0, 1]]), class_groups(np.array([5, 5])))
    assert got["micro_F1"] == got["macro_F1"] == 0.0 and got["accuracy"] == 50.0


def test_labels_that_are_not_known_do_not_count():
    """With half the entries hidden, every measure is that of the other half."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(60, 3)), rng.integers(0, 2, (60, 3))
    hidden = labels.copy()
    hidden[30:, 0], hidden[:30, 1] = 2, 3
    got = metrics.scores(logits, hidden, class_groups(np.array([100, 50, 5])))
    parts = [(logits[:30, :1], labels[:30, :1]), (logits[30:, 1:2], labels[30:, 1:2]), (logits[:, 2:], labels[:, 2:])]
    alone = [metrics.scores(part, true, class_groups(np.array([100]))) for part, true in parts]
    for name, one in zip(("head", "medium", "tail"), alone, strict=True):
        assert got[f"mAP_{name}"] == pytest.approx(one["mAP_head"])
    for name in ("mAP_total", "macro_F1", "accuracy"):
        assert got[name] == pytest.approx(np.mean([one[name] for one in alone]))
    flat = metrics.scores(*(np.concatenate([pair[k] for pair in parts]) for k in (0, 1)), class_groups(np.array([1])))
    assert got["micro_F1"] == pytest.approx(flat["micro_F1"])


def mean_pixels(params, rest, images, *, train, mask, dropout_key):
    """A network of one class whose logit is the mean of the normalised image, times a parameter."""
    assert not train and mask is None and dropout_key is None
    return params * images.mean((1, 2, 3))[:, None], rest


def batches(values, size):
    for start in range(0, len(values), size):
        part = values[start : start + size]
        padded = np.concatenate([part, np.repeat(part[-1:], size - len(part))])
        image = np.broadcast_to(padded[:, None, None, None], (size, 2, 2, 3)).astype(np.uint8)
        yield {"image": image, "mask": np.arange(size) < len(part)}


def predicted(mesh, parameter, values) -> np.ndarray:
    blank = {"image": np.zeros((8, 2, 2, 3), np.uint8), "mask": np.zeros(8, bool)}
    feed = Feed(batches(values, 8), mesh, 8, blank, ("mask",), -(-len(values) // 8))
    predict = jit_predict(mean_pixels, supervised.bce(Plan(1, 8)), mesh)
    return predict_all(predict, parameter, None, feed, len(values))["network"]


@pytest.mark.parametrize("devices", [1, 2, 8])
@pytest.mark.parametrize("count", [8, 16, 21])
def test_every_image_counts_once_and_in_order(devices, count):
    values = np.arange(count) * 7
    got = predicted(make_mesh(jax.devices()[:devices]), 2.0, values)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = 2 * ((values[:, None] / 255 - mean) / deviation).mean(1)
    assert got.shape == (count, 1) and got.dtype == np.float32
    np.testing.assert_allclose(got[:, 0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("broken", [NAN, float("inf")])
def test_outputs_that_are_not_finite_are_refused(broken):
    with pytest.raises(UserError, match="not finite.*lower config.optim.learning_rate"):
        predicted(make_mesh(jax.devices()[:1]), broken, np.arange(8))
