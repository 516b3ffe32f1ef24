"""Files of predictions: what they hold, and what is kept of one that was left in the middle."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ltpml_jax.errors import UserError
from ltpml_jax.inference import result_files
from ltpml_jax.inference.result_lines import Result
from ltpml_jax.inference.thresholds import Decision
from tests.helpers.contents import put

NAMES = ("cat", 'a "big", dog', "line\nbreak")
DECISION = Decision(NAMES, np.array([0.5, 0.1, 0.9]))
SCORES = np.array([[0.7, 0.1, 0.95], [0.1, 0.2, 0.3], [1 / 3, 2 / 3, 1e-9]], np.float32)
ROWS = [Result(f"{row}, é.jpg", "", scores) for row, scores in enumerate(SCORES)]
ROWS.insert(1, Result("torn\n or\rreturned.jpg", "cannot be read;\nreally", np.full(3, np.nan, np.float32)))
LABELS = [["cat", "line\nbreak"], [], ['a "big", dog'], ['a "big", dog']]


def write(path: Path, rows: list[Result], decision: Decision = DECISION) -> tuple[set[str], int]:
    with result_files.opened(path, decision, 2) as sink:
        for row in rows:
            sink.write([row])
    return sink.done, sink.failed


def test_csv(tmp_path):
    write(tmp_path / "o.csv", ROWS)
    with (tmp_path / "o.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["path", "error", "labels", *(f"score:{name}" for name in NAMES)]
    assert [row[:3] for row in rows] == [
        [row.path, row.error, ";".join(labels)] for row, labels in zip(ROWS, LABELS, strict=True)
    ]
    assert rows[1][3:] == ["", "", ""]
    np.testing.assert_array_equal(np.array([rows[row][3:] for row in (0, 2, 3)], np.float32), SCORES)


def test_json_lines(tmp_path):
    write(tmp_path / "o.jsonl", ROWS)
    first, torn, *_, last = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert first["labels"] == LABELS[0] and list(first["scores"]) == list(NAMES)
    assert first["top"] == [["line\nbreak", 0.95], ["cat", 0.7]]
    assert torn == {"path": "torn\n or\rreturned.jpg", "error": "cannot be read;\nreally"}
    np.testing.assert_array_equal(np.array(list(last["scores"].values()), np.float32), SCORES[2])


def test_parquet(tmp_path):
    write(tmp_path / "o.parquet", ROWS)
    found = pq.read_table(tmp_path / "o.parquet").to_pydict()
    assert found["path"] == [row.path for row in ROWS] and found["error"] == [row.error for row in ROWS]
    assert found["labels"] == [";".join(labels) for labels in LABELS]
    assert found["score:cat"][1] is None
    np.testing.assert_array_equal(np.float32([found["score:cat"][row] for row in (0, 2, 3)]), SCORES[:, 0])


@pytest.mark.parametrize("ending", result_files.ENDINGS)
def test_a_file_continued_is_the_file_written_at_once(tmp_path, ending):
    whole, parts = tmp_path / f"whole{ending}", tmp_path / f"parts{ending}"
    write(whole, ROWS)
    assert write(parts, ROWS[:2]) == (set(), 0)
    assert write(parts, ROWS[2:]) == ({row.path for row in ROWS[:2]}, 1)
    if ending == ".parquet":
        assert pq.read_table(parts).to_pydict()["path"] == pq.read_table(whole).to_pydict()["path"]
    else:
        assert parts.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_wherever_writing_stopped_whole_rows_are_kept(tmp_path, ending):
    whole, torn = tmp_path / f"whole{ending}", tmp_path / f"torn{ending}"
    write(whole, ROWS)
    content = whole.read_bytes()
    begin = len(content.split(b"score:line")[0]) + len('score:line\nbreak"\n') if ending == ".csv" else 0
    for cut in range(begin, len(content)):
        put(torn, content[:cut])
        done, _ = write(torn, [])
        rest = [row for row in ROWS if row.path not in done]
        assert [row.path for row in ROWS][: len(done)] == [row.path for row in ROWS if row.path in done]
        write(torn, rest)
        assert torn.read_bytes() == content, cut


OTHERS = [Decision(NAMES, np.array([0.8, 0.1, 0.9])), Decision(NAMES[::-1], DECISION.thresholds)]


@pytest.mark.parametrize("ending", result_files.ENDINGS)
@pytest.mark.parametrize("other", OTHERS, ids=["thresholds", "classes"])
def test_results_of_another_run_or_threshold_are_not_continued(tmp_path, ending, other):
    write(tmp_path / f"o{ending}", ROWS)
    before = (tmp_path / f"o{ending}").read_bytes()
    with pytest.raises(UserError, match=r"cannot be continued: .*; give the --workdir and --threshold that made it"):
        write(tmp_path / f"o{ending}", ROWS, other)
    assert (tmp_path / f"o{ending}").read_bytes() == before


def test_what_is_no_such_file_is_not_touched(tmp_path):
    for ending, content in ((".jsonl", b"[]\n"), (".jsonl", b"\xff\n"), (".csv", b"a,b\n"), (".parquet", b"PAR1")):
        path = tmp_path / f"o{ending}"
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"cannot be (continued|written)"):
            write(path, ROWS)
        assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]
        path.unlink()


def test_names_that_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"^--out is o.txt; end it in one of .csv, .jsonl, .parquet.$"):
        result_files.check(Path("o.txt"), NAMES, False)
    for ending in (".csv", ".parquet"):
        with pytest.raises(UserError, match="The class 'a;b' holds ';'"):
            result_files.check(tmp_path / f"o{ending}", ("a;b",), False)
    result_files.check(tmp_path / "o.jsonl", ("a;b",), False)
    (tmp_path / "o.csv").touch()
    result_files.check(tmp_path / "o.csv", NAMES, True)
    with pytest.raises(UserError, match=r"o.csv exists; add --resume to continue it, or give another --out\.$"):
        result_files.check(tmp_path / "o.csv", NAMES, False)
    with pytest.raises(UserError, match=r"^There is no folder .*/no for --out=.*/no/o.csv; make it, or give another"):
        result_files.check(tmp_path / "no" / "o.csv", NAMES, False)
    with pytest.raises(UserError, match=r"/no/o.csv cannot be written \(No such file or directory\)"):
        write(tmp_path / "no" / "o.csv", ROWS)


def test_a_link_leads_to_the_file_that_is_continued(tmp_path):
    write(tmp_path / "real.csv", ROWS[:2])
    (tmp_path / "link.csv").symlink_to("real.csv")
    assert len(write(tmp_path / "link.csv", ROWS[2:])[0]) == 2
    assert (tmp_path / "link.csv").is_symlink()
    with (tmp_path / "real.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == 1 + len(ROWS)


def test_an_empty_file_is_no_parquet_to_continue(tmp_path):
    (tmp_path / "o.parquet").touch()
    with pytest.raises(UserError, match="o.parquet cannot be continued: it is no whole Parquet file; .*another --out"):
        write(tmp_path / "o.parquet", ROWS)
