"""The numbers in the plots, which are the rows of their tables."""

import numpy as np
import pytest

from ltpml_jax.plotting import beliefs, confusion, curves, distribution, frequency, reliability
from tests.helpers import drawn

NAN = float("nan")
GROUPS = {"head": np.array([True, False, False]), "medium": np.zeros(3, bool), "tail": np.array([False, True, True])}


def test_precision_stands_beside_the_count_by_run_and_class():
    precision = {"one": np.array([90.0, 20.0, NAN]), "two": np.array([70.0, 40.0, NAN])}
    table = frequency.plot(list("abc"), GROUPS, np.array([200.0, 5.0, -1.0]), "true", precision).columns
    assert table["run"] == ["one"] * 3 + ["two"] * 3 and table["class"] == list("abcabc")
    assert table["group"] == ["head", "tail", "tail"] * 2 and table["count"] == [200.0, 5.0, 0.0] * 2
    assert np.array_equal(table["ap"], [90, 20, NAN, 70, 40, NAN], equal_nan=True)
    means = frequency.group_means(GROUPS, precision)
    assert (means["head"], means["tail"]) == (80.0, 30.0) and np.isnan(means["medium"])


def test_epochs_are_the_lines_that_end_one():
    lines = [
        {"step": 1, "epoch": 0, "loss": 9.0},
        {"step": 2, "epoch": 0, "epoch_loss": 0.5, "validation_mAP": None, "soft_label_AP": "x"},
        {"step": 4, "epoch": 1, "epoch_loss": 0.25, "validation_mAP": 60.0, "soft_label_AP": 40.0},
    ]
    found = curves.epochs(lines)
    assert found["epoch"].tolist() == [1, 2] and found["epoch_loss"].tolist() == [0.5, 0.25]
    table = curves.plot({"run": found}).columns
    assert table["epoch"] == [1, 2] and table["run"] == ["run", "run"]
    assert np.array_equal(table["validation_mAP"], [NAN, 60], equal_nan=True)
    assert np.array_equal(table["soft_label_AP"], [NAN, 40], equal_nan=True)


def test_panels_without_a_number_are_left_out():
    def titles(**fields):
        plot = curves.plot({"run": curves.epochs([{"epoch": 0, "epoch_loss": 1.0, **fields}])})
        return [axes.get_title().split(",")[0] for axes in plot.figure.axes if axes.get_visible()]

    assert titles() == ["Training loss"]
    assert titles(hard_label_recall=3.0) == ["Training loss", "Hard labels of training images"]


def test_classes_are_ordered_by_group_and_then_by_the_first_series():
    shares = {"true": np.array([1.0, 3.0, 9.0]), "estimated": np.array([2.0, NAN, 0.0])}
    table = distribution.plot("d", "t", list("abc"), GROUPS, shares).columns
    assert table["class"] == ["a", "c", "b"] and table["group"] == ["head", "tail", "tail"]
    assert table["true"] == [1.0, 9.0, 3.0] and np.array_equal(table["estimated"], [2, 0, NAN], equal_nan=True)


def test_reliability_by_hand():
    """Two entries at 0.2 and 0.25, one present; one at 0.9, absent: gaps 0.275 (of two) and 0.9 (of one)."""
    found = reliability.reliability(np.array([0.2, 0.25, 0.9]), np.array([True, False, False]))
    assert found.entries.tolist() == [0, 1, 1, 0, 0, 0, 0, 0, 1, 0]  # a bin holds its upper end
    assert np.array_equal(found.present[[1, 2, 8]], [1, 0, 0]) and np.isnan(found.present[0])
    assert found.score[[1, 2, 8]] == pytest.approx([0.2, 0.25, 0.9])
    assert found.brier == pytest.approx((0.8**2 + 0.25**2 + 0.9**2) / 3)
    assert found.ece == pytest.approx((0.8 + 0.25 + 0.9) / 3)


def test_one_bin_is_the_gap_of_its_means():
    found = reliability.reliability(np.array([0.52, 0.58]), np.array([True, False]))
    assert found.ece == pytest.approx(0.05) and found.entries[5] == 2


def test_counts_and_shares_of_bins_belong_together():
    draws = np.random.default_rng(0)
    score = draws.random(2000)
    found = reliability.reliability(score, draws.random(2000) < score)
    for number in range(reliability.BINS):
        inside = (score > number / 10) & (score <= (number + 1) / 10)
        assert found.entries[number] == inside.sum()
        assert found.score[number] == pytest.approx(score[inside].mean())
    assert found.ece < 0.05


def test_reliability_counts_known_labels_of_readable_images():
    logits = np.array([[0.0, 5.0, 5.0], [NAN, NAN, NAN], [0.0, -5.0, 5.0]], np.float32)
    states = np.array([[1, 3, 1], [1, 1, 1], [0, 0, 2]], np.int8)
    found = reliability.by_group(logits, states, GROUPS)
    assert {name: int(one.entries.sum()) for name, one in found.items()} == {"head": 2, "medium": 0, "tail": 2}
    assert found["head"].brier == 0.25 and found["head"].ece == 0.0 and np.isnan(found["medium"].ece)
    table = reliability.plot("r", "t", found).columns
    assert table["group"].count("medium") == 10 and table["entries"][4] == 2 and sum(table["entries"]) == 4


def test_confusion_by_hand():
    """Of three images with a, two are known not to have b; in one of those b is predicted."""
    states = np.array([[1, 0], [1, 0], [1, 1], [1, 3], [0, 1]], np.int8)
    predicted = np.array([[1, 1], [1, 0], [1, 1], [0, 1], [0, 1]], bool)
    found = confusion.confusion(predicted, states)
    assert found[0, 1] == 0.5 and found[1, 0] == 0.0 and np.isnan(np.diag(found)).all()
    alone = confusion.confusion(predicted, np.ones((5, 2), np.int8))
    assert np.isnan(alone).all()


def test_classes_that_occur_together_are_neighbours():
    pairs = np.array([[1, 0, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 1, 0]], np.int8)
    order = confusion.by_occurrence(pairs).tolist()
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset((0, 3)), frozenset((1, 2))}
    assert confusion.by_occurrence(np.ones((3, 1), np.int8)).tolist() == [0]
    assert sorted(confusion.by_occurrence(np.zeros((3, 4), np.int8))) == [0, 1, 2, 3]


def test_the_table_of_confusion_is_in_the_order_of_the_map():
    states = np.array([[1, 0, 0, 1], [1, 0, 0, 0], [0, 1, 1, 0]], np.int8)
    predicted = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1]], bool)
    table = confusion.plot("c", "t", list("abcd"), predicted, states, "").columns
    assert sorted(table["present"]) == list("abcd")
    cell = table["predicted:b"][table["present"].index("a")]
    assert cell == 0.5 and table["images"][table["present"].index("a")] == 2


def test_images_with_several_candidates_are_shown():
    listed = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 0]], bool)
    truth = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]], bool)
    assert beliefs.choose(listed, None).tolist() == [0, 2]
    assert beliefs.choose(listed, truth).tolist() == [2]
    assert beliefs.choose(listed, np.zeros_like(truth)).tolist() == [0, 2]
    assert beliefs.choose(np.eye(3, dtype=bool), None).tolist() == []
    assert len(beliefs.choose(np.ones((100, 3), bool), None)) == beliefs.IMAGES


def test_the_surest_candidates_come_first():
    pixels = np.zeros((2, 2, 3), np.uint8)
    belief, listed = np.linspace(0, 1, 30), np.arange(30) % 2 == 0
    names = [f"c{j}" for j in range(30)]
    one = beliefs.shown("id", pixels, names, belief, listed, np.arange(30) == 28)
    assert one.size == 15 and len(one.names) == 12 and one.names[:2] == ("c28", "c26")
    table = beliefs.plot("b", "t", [one], True).columns
    assert table["class"][0] == "c28" and table["true"][:2] == [1, 0] and set(table["candidates"]) == {15}
    unknown = beliefs.shown("id", pixels, names, belief, listed)
    assert set(beliefs.plot("b", "t", [unknown], False).columns["true"]) == {""}


def test_every_plot_has_a_row_for_what_it_shows():
    tables = {plot.name: plot.columns for plot in drawn.plots(drawn.made(7), runs=2, epochs=4)}
    lengths = {name: {len(column) for column in columns.values()} for name, columns in tables.items()}
    assert all(len(found) == 1 for found in lengths.values())
    assert lengths["ap_by_frequency"] == {14} and lengths["distribution"] == {7} and lengths["confusion"] == {7}
