"""The audit command on the shared small run: its folder, its refusals."""

import json

import pytest

import ltpml_jax
from ltpml_jax import cli
from ltpml_jax.commands import audit
from ltpml_jax.errors import UserError
from tests.helpers import runs

pytestmark = pytest.mark.processes


def call(*words: str) -> None:
    audit.run(cli.parse("audit", audit.COMMAND, list(words)))


def test_an_audit_of_a_run(tmp_path, capsys):
    out = tmp_path / "audit"
    call(f"--workdir={runs.finished()}", f"--out={out}", "--top=5", "--per_class=1", "--exports=html,cleanlab")
    printed = capsys.readouterr().out
    assert "digits_mlt: 1200 training images, 120 with a score out of sample" in printed
    assert "the run drew these labels (partial rate 0.3)" in printed
    names = ["cleanlab.npz", "entries.csv", "entries.parquet", "images", "index.html", "summary.json"]
    assert sorted(path.name for path in out.iterdir()) == names
    (out / "corrections.csv").write_text("mine")
    call(f"--workdir={runs.finished()}", f"--out={out}", "--top=5", "--per_class=1", "--exports=html,csv")
    printed = capsys.readouterr().out.splitlines()[-1]
    names = ["entries.csv", "entries.parquet", "images", "index.html", "labels.csv", "summary.json"]
    assert printed == f"Written to {out}: {', '.join(names)}"
    assert sorted(path.name for path in out.iterdir()) == ["corrections.csv", *names]
    listed = json.loads((out / "summary.json").read_text())["listed"]["reason"]
    assert listed.keys() == {"candidate_false", "candidate_true", "missing_positive"}
    assert "Corrections of them cannot be applied" in (out / "index.html").read_text()


def test_wrong_commands_are_one_sentence(tmp_path):
    (tmp_path / "something").write_text("")
    with pytest.raises(UserError, match="exists and is no audit"):
        call(f"--workdir={runs.finished()}", f"--out={tmp_path}")
    with pytest.raises(UserError, match="--exports names 'htm'; did you mean 'html'"):
        call("--workdir=a", "--out=b", "--exports=htm")
    with pytest.raises(UserError, match="--workdir is missing"):
        call(f"--out={tmp_path}/x")
    with pytest.raises(UserError, match="There is no run in nowhere"):
        call("--workdir=nowhere", f"--out={tmp_path}/x")
    assert [path.name for path in tmp_path.iterdir()] == ["something"]


def test_the_notebook_s_audit_is_the_command_s(tmp_path):
    (tmp_path / "something").write_text("")
    with pytest.raises(UserError, match="exists and is no audit"):
        ltpml_jax.audit_runs([runs.finished()], tmp_path)
    for odd in ({"form": "foo"}, {"wanted": ("foo",)}):
        with pytest.raises(UserError, match=r"'foo'.*; form is one of .*, wanted some of html, "):
            ltpml_jax.audit_runs([runs.finished()], tmp_path / "audit", **odd)
    found = ltpml_jax.audit_runs(str(runs.finished()), tmp_path / "audit", top=3, per_class=0, wanted=("csv",))
    names = {path.name for path in (tmp_path / "audit").iterdir()}
    assert {"labels.csv", "entries.csv", "summary.json"} <= names and "index.html" not in names
    again = ltpml_jax.open_run(runs.finished()).audit(tmp_path / "again", top=3, per_class=0, wanted=("csv",))
    assert again.entries == found.entries
    assert len(found.entries) == len((tmp_path / "audit" / "entries.csv").read_text().splitlines()) - 1 == 9
