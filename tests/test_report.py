"""The table and results.json."""

import json

from ltpml_jax import report

SCORES = {
    "mAP_total": 12.345,
    "mAP_head": 1.0,
    "mAP_medium": 2.0,
    "mAP_tail": float("nan"),
    "micro_F1": 3.0,
    "macro_F1": 4.0,
    "accuracy": 99.999,
}
QUALITY = {"soft_label_AP": 50.0, "hard_label_precision": 0.125, "hard_label_recall": float("nan")}


def test_the_table_shows_every_number_below_its_head():
    text = report.table("a title", {"last (epoch 2)": SCORES, "best (epoch 1)": SCORES}, QUALITY)
    title, head, last, best, labels = text.split("\n")
    assert title == "a title"
    columns = ["mAP Total", "mAP Head", "mAP Medium", "mAP Tail", "micro F1", "macro F1", "accuracy"]
    numbers = ["12.35", "1.00", "2.00", "-", "3.00", "4.00", "100.00"]
    for name, number in zip(columns, numbers, strict=True):
        end = head.index(name) + len(name)
        assert last[:end].endswith(f" {number}") and best[:end].endswith(f" {number}")
    assert last.startswith("last (epoch 2) ") and best.startswith("best (epoch 1) ")
    assert labels == (
        "corrected labels: soft label AP over candidates 50.00, hard label precision 0.12, hard label recall -"
    )


def test_a_method_without_labels_says_so():
    assert report.table("t", {"last": SCORES}, None).endswith("this method keeps none")


def test_results_are_strict_json_with_undefined_as_null(tmp_path):
    report.save(tmp_path, {"last": SCORES}, QUALITY, {"seed": 3})
    text = (tmp_path / "results.json").read_text()
    got = json.loads(text, parse_constant=lambda name: 1 / 0)
    assert got["seed"] == 3 and got["test"]["last"]["mAP_tail"] is None
    assert got["test"]["last"]["mAP_total"] == 12.345
    assert got["corrected_labels"] == QUALITY | {"hard_label_recall": None}
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_results_of_a_method_without_labels(tmp_path):
    report.save(tmp_path, {"last": SCORES}, None, {})
    assert json.loads((tmp_path / "results.json").read_text())["corrected_labels"] is None
