"""entries.csv, entries.parquet and summary.json, written and read again."""

import json

import numpy as np
import pyarrow.csv
import pyarrow.parquet

from ltpml_jax.audit import belief, entries
from tests.helpers import evidences

COLUMNS = [
    *("rank", "rank_in_class", "rank_in_group", "split", "id", "path", "class", "group", "given", "soft_label"),
    *("candidates", "score", "belief", "distrust", "suggest", "reason", "out_of_sample", "step"),
    *("said_present", "said_absent"),
]


def test_a_row_an_entry_with_its_numbers(tmp_path):
    found = evidences.evidence(evidences.dataset(tmp_path))
    listed = entries.listed_entries(found, belief.FORMS["score"](found), 500, 20)
    assert len(listed) == found.given.size
    listed = entries.named(listed, {row: f"id {row}" for row in range(4)}, {row: f"{row}.png" for row in range(4)})
    entries.write(tmp_path, listed)
    for table in (
        pyarrow.csv.read_csv(tmp_path / "entries.csv"),
        pyarrow.parquet.read_table(tmp_path / "entries.parquet"),
    ):
        assert table.column_names == COLUMNS and len(table) == len(listed)
    top = table.to_pylist()[0]
    expected = {"rank": 1, "class": evidences.HOSTILE[1], "given": "negative", "suggest": "positive", "id": "id 0"}
    assert expected.items() <= top.items()
    assert top["distrust"] == top["belief"] == round(float(found.score[0, 1]), 6)
    assert top["soft_label"] is None and top["candidates"] is None and not top["out_of_sample"]
    assert {row["reason"] for row in table.to_pylist()} == {
        "positive_unlikely", "missing_positive", "candidate_false", "candidate_true", "unknown_true",
        "annotators_disagree",
    }  # fmt: skip
    said = [(row["said_present"], row["said_absent"]) for row in table.to_pylist()]
    disputed = [row for row, counts in zip(table.to_pylist(), said, strict=True) if counts == (2, 1)]
    assert [(row["id"], row["class"], row["reason"]) for row in disputed] == [
        ("id 1", evidences.HOSTILE[0], "annotators_disagree")
    ]
    assert said.count((None, None)) == len(said) - 1
    assert all((row["distrust"] is None) == (row["given"] in ("candidate", "unknown")) for row in table.to_pylist())
    assert [row["out_of_sample"] for row in table.to_pylist()] == [one.row == 3 for one in listed]


def test_top_and_per_class_bound_each_list(tmp_path):
    found = evidences.evidence(evidences.dataset(tmp_path))
    some = entries.listed_entries(found, belief.FORMS["score"](found), 1, 0)
    assert [one.rank for one in some] == [1] * len({one.reason for one in some}) and len(some) == 4
    by_class = entries.listed_entries(found, belief.FORMS["score"](found), 1, 1)
    assert len(by_class) > len(some) and all(one.rank_in_class == 1 or one.rank == 1 for one in by_class)


def test_a_table_is_shown_where_there_is_one(tmp_path):
    found = evidences.evidence(evidences.dataset(tmp_path))
    soft = np.full(found.score.shape, 0.25, np.float32)
    soft[3] = np.nan
    found = found._replace(soft=soft)
    listed = entries.listed_entries(found, belief.FORMS["score"](found), 500, 0)
    assert {(one.soft_label, one.candidates) for one in listed if one.row == 0} == {(0.25, 3)}
    assert {(one.soft_label, one.candidates) for one in listed if one.row == 3} == {(None, None)}


def test_the_summary_counts_and_expects(tmp_path):
    found = evidences.evidence(evidences.dataset(tmp_path))
    believed = belief.FORMS["score"](found)
    listed = entries.listed_entries(found, believed, 500, 20)
    entries.write_summary(tmp_path, entries.summary(found, believed, "score", listed))
    got = json.loads((tmp_path / "summary.json").read_text())
    assert got["kind"] == "ltpml audit" and got["images"] == 4 and got["out_of_sample"] == 1 and got["unreadable"] == 0
    present = round(float(believed[found.given == 2].sum()), 1)
    assert got["states"]["candidate"] == {"entries": 4, "present_by_belief": present}
    assert got["states"]["positive"] == {"entries": 3, "contradicted": 0}
    assert got["states"]["negative"]["contradicted"] == int((believed[found.given == 0] > 0.5).sum()) > 0
    assert sum(got["listed"]["reason"].values()) == len(listed) == sum(got["listed"]["class"].values())
    assert got["class_names"] == list(evidences.HOSTILE) and got["seeds"] == [0]
