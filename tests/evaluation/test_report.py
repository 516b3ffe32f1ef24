"""The table and results.json."""

import json

import numpy as np
import pytest

from ltpml_jax.errors import UserError
from ltpml_jax.evaluation import metrics, report

SCORES = {
    "mAP_total": 12.345,
    "mAP_head": 1.0,
    "mAP_medium": 2.0,
    "mAP_tail": float("nan"),
    "micro_F1": 3.0,
    "macro_F1": 4.0,
    "accuracy": 99.999,
}
QUALITY = {
    "soft_label_AP": 50.0,
    "soft_label_x_size_AP": 60.0,
    "soft_label_unknown_AP": float("nan"),
    "hard_label_precision": 0.125,
    "hard_label_recall": float("nan"),
}


def test_the_table_shows_every_number_below_its_head():
    text = report.table("a title", {"last (epoch 2)": SCORES, "best (epoch 1)": SCORES}, QUALITY, ["n1"])
    title, head, last, best, labels, note = text.split("\n")
    assert title == "a title"
    columns = ["mAP Total", "mAP Head", "mAP Medium", "mAP Tail", "micro F1", "macro F1", "accuracy"]
    numbers = ["12.35", "1.00", "2.00", "-", "3.00", "4.00", "100.00"]
    for name, number in zip(columns, numbers, strict=True):
        end = head.index(name) + len(name)
        assert last[:end].endswith(f" {number}") and best[:end].endswith(f" {number}")
    assert last.startswith("last (epoch 2) ") and best.startswith("best (epoch 1) ")
    assert labels == (
        "corrected labels: soft label AP over candidates 50.00, soft label x set size AP 60.00, "
        "hard label precision 0.12"
    )
    assert note == "note: n1"


def test_a_method_without_labels_says_so():
    text = report.table("t", {"last": SCORES}, "this method keeps none", [])
    assert text.endswith("\ncorrected labels: this method keeps none")


def test_the_table_of_classes_shows_counts_groups_and_undefined_precision():
    names, groups = ("cat", "long name"), {"head": np.array([True, False]), "tail": np.array([False, True])}
    precision = {"last (epoch 2)": np.array([12.345, np.nan]), "best (epoch 1)": np.array([1.0, 2.0])}
    head, *rows = report.class_table(names, np.array([100.0, 2.5]), groups, precision).split("\n")
    assert head.split() == ["class", "train", "group", "last", "(epoch", "2)", "best", "(epoch", "1)"]
    assert [row.split() for row in rows] == [
        ["cat", "100", "head", "12.35", "1.00"],
        ["long", "name", "2.5", "tail", "-", "2.00"],
    ]
    assert len({len(row) for row in (head, *rows)}) == 1


def test_groups_by_what_is_left_are_a_note_where_there_are_any():
    left = dict(zip(metrics.LEFT, (70.0, 40.0, float("nan"), float("nan")), strict=True))
    assert report.left_note(SCORES) == []
    assert report.left_note(SCORES | left) == [
        "mAP of the last by the positives left in training: many (100 or more) 70.00, medium 40.00, few (below 20) -, "
        "average of the three -"
    ]


def test_results_are_strict_json_with_undefined_as_null(tmp_path):
    report.save(tmp_path, {"last": SCORES}, {"last": {"cat": float("nan")}}, QUALITY, {"seed": 3})
    text = (tmp_path / "results.json").read_text()
    got = json.loads(text, parse_constant=lambda name: 1 / 0)
    assert got["seed"] == 3 and got["test"]["last"]["mAP_tail"] is None
    assert got["test"]["last"]["mAP_total"] == 12.345
    assert got["class_AP"] == {"last": {"cat": None}}
    assert got["corrected_labels"] == QUALITY | {"hard_label_recall": None, "soft_label_unknown_AP": None}
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_results_of_a_method_without_labels(tmp_path):
    report.save(tmp_path, {"last": SCORES}, {}, "none", {})
    assert json.loads((tmp_path / "results.json").read_text())["corrected_labels"] is None


def test_results_that_cannot_be_written_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"no/results.json cannot be written \(No such file or directory\); make room"):
        report.save(tmp_path / "no", {"last": SCORES}, {}, "none", {})
