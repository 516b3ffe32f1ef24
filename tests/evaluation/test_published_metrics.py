import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_score, recall_score

from ltpml_jax.evaluation import published_metrics as published

# Ranked: 1 0 1 0 in the first class; the second has no positive; in the third two scores are equal.
SCORES = np.array([[0.9, 0.1, 0.5], [0.8, 0.2, 0.5], [0.7, 0.3, 0.9], [0.6, 0.4, 0.1]])
TARGETS = np.array([[1, 0, 1], [0, 0, 0], [1, 0, 0], [0, 0, 0]])


def random(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits without equal values, and labels, of 60 images and 7 classes."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((60, 7)) < 0.3).astype(int)
    return rng.normal(size=(60, 7)) + targets, targets


def test_comics_average_precision_by_hand():
    got = published.comic_average_precision(SCORES, TARGETS)
    np.testing.assert_allclose(got, [(1 + 2 / 3) / (2 + 1e-8), 0, (1 / 3) / (1 + 1e-8)], rtol=1e-12)


def test_mlgcns_average_precision_by_hand():
    """Of equal scores the first one counts first: the positive of the third class has rank 2."""
    np.testing.assert_allclose(published.mlgcn_average_precision(SCORES, TARGETS), [5 / 6, np.nan, 1 / 2], rtol=1e-12)


def test_without_equal_scores_both_are_scikit_learns():
    logits, targets = random()
    want = [average_precision_score(targets[:, j], logits[:, j]) for j in range(7)]
    np.testing.assert_allclose(published.mlgcn_average_precision(logits, targets), want, rtol=1e-12)
    np.testing.assert_allclose(published.comic_average_precision(logits, targets), want, rtol=1e-7)


def test_shots_are_grouped_by_training_counts():
    logits, targets = random(1)
    counts = np.array([500, 100, 99, 20, 19, 3, 0])
    precision = 100 * published.comic_average_precision(logits, targets)
    got = published.comic_shot_map(logits, targets, counts)
    want = {"total": precision.mean(), "many": precision[:2].mean(), "medium": precision[2:4].mean()}
    assert got == pytest.approx(want | {"few": precision[4:].mean()})
    assert np.isnan(published.comic_shot_map(logits, targets, counts + 100)["few"])


def test_f1_by_hand():
    """Three classes; the third is predicted nowhere, and counts as one prediction."""
    logits = np.array([[1.0, 0.0, -1], [1, -1, -1], [-1, 1, -1]])
    targets = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 1]])
    got = published.mlgcn_f1(logits, targets)
    op, recall = 2 / 5, 2 / 5
    cp, cr = (1 / 2 + 1 / 2 + 0) / 3, (1 / 2 + 1 / 2 + 0) / 3
    want = {"OP": op, "OR": recall, "OF1": 0.4, "CP": cp, "CR": cr, "CF1": 2 * cp * cr / (cp + cr)}
    assert list(got) == list(want) and got == pytest.approx(want)


def test_precision_and_recall_are_scikit_learns_where_all_classes_occur():
    logits, targets = random(2)
    got, predicted = published.mlgcn_f1(logits, targets), (logits >= 0).astype(int)
    for prefix, average in (("O", "micro"), ("C", "macro")):
        precision, recall = (
            precision_score(targets, predicted, average=average),
            recall_score(targets, predicted, average=average),
        )
        assert (got[f"{prefix}P"], got[f"{prefix}R"]) == pytest.approx((precision, recall))


def test_a_class_without_positives_is_undefined():
    got = published.mlgcn_f1(SCORES, TARGETS)
    assert np.isnan([got["CR"], got["CF1"]]).all() and np.isfinite([got["OF1"], got["CP"]]).all()
