"""A folder of results: what it may replace, and what it leaves."""

import json
from pathlib import Path

import pytest

from ltpml_jax.errors import UserError
from ltpml_jax.runtime import result_folder
from ltpml_jax.runtime.result_folder import Mark

MARK = Mark("summary.json", "ltpml audit", "audit")


def test_nothing_an_empty_folder_and_an_audit_may_be_written(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "summary.json").write_text(json.dumps({"kind": MARK.kind}))
    for name in ("none", "empty", "audit"):
        result_folder.check(tmp_path / name, MARK)


@pytest.mark.parametrize("content", ["{}", "[]", "torn", '{"kind": "other"}'])
def test_anything_else_is_refused(tmp_path, content):
    (tmp_path / "summary.json").write_text(content)
    with pytest.raises(UserError, match="exists and is no audit; give another --out"):
        result_folder.check(tmp_path, MARK)
    with pytest.raises(UserError, match="exists and is no audit"):
        result_folder.check(tmp_path / "summary.json", MARK)


def test_an_audit_is_replaced_and_what_a_user_put_there_stays(tmp_path):
    out = tmp_path / "new" / "audit"
    with result_folder.written(out, MARK) as scratch:
        (scratch / "images").mkdir()
        (scratch / "images" / "old.png").write_text("old")
        (scratch / "other").mkdir()
        (scratch / "old.csv").write_text("old")
        content = {"kind": MARK.kind, "files": ["images", "other", "old.csv", "../file", 3]}
        (scratch / "summary.json").write_text(json.dumps(content))
    (out / "corrections.csv").write_text("mine")
    with pytest.raises(RuntimeError), result_folder.written(out, MARK) as scratch:
        (scratch / "summary.json").write_text("torn")
        raise RuntimeError
    assert json.loads((out / "summary.json").read_text()) == content and (out / "other").is_dir()
    with result_folder.written(out, MARK) as scratch:
        (scratch / "images").mkdir()
        (scratch / "summary.json").write_text("2")
    assert sorted(path.name for path in out.iterdir()) == ["corrections.csv", "images", "summary.json"]
    assert (out / "summary.json").read_text() == "2" and not list((out / "images").iterdir())
    assert [path.name for path in out.parent.iterdir()] == ["audit"]


def test_the_folder_itself_may_be_the_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with result_folder.written(Path("."), MARK) as scratch:
        (scratch / "summary.json").write_text("1")
    assert (tmp_path / "summary.json").read_text() == "1"


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="cannot be written .*; give another --out"),
        result_folder.written(tmp_path / "file/x", MARK),
    ):
        pass
