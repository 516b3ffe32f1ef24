"""The compare command: work directories and sweeps as arguments, what it prints and writes."""

import json
from pathlib import Path

import pytest

from ltpml_jax import cli
from ltpml_jax.commands import compare
from ltpml_jax.errors import UserError
from ltpml_jax.evaluation import comparison_report
from tests.helpers import runs, workdirs

STATES = workdirs.labels(80)


def parse(*words: object):
    return cli.parse("compare", compare.COMMAND, [str(word) for word in words])


def run(*words: object) -> None:
    compare.COMMAND.run(parse(*words))


@pytest.fixture
def sweep(tmp_path) -> Path:
    """The folder of a sweep with two finished runs and one that is not."""
    out, names = tmp_path / "sweep", ("name=bce", "name=ndlp", "name=db_focal")
    for number, name in enumerate(names):
        fields = {"method.name": name.partition("=")[2]}
        workdirs.write(out / name, STATES, workdirs.guesses(STATES, 1.0, number), fields)
    (out / names[2] / "results.json").unlink()
    (out / "sweep.json").write_text(json.dumps({"format": 1, "runs": [{"name": name} for name in names]}))
    return out


def test_folders_are_arguments_or_flags_in_any_order(sweep):
    first, second = sweep / "name=bce", sweep / "name=ndlp"
    assert parse(first, "--by=method.name", second).workdir == [str(first), str(second)]
    assert parse(f"--workdir={first}", second).workdir == [str(first), str(second)]
    assert parse(first, "--by=method.name,seed").by == ["method.name", "seed"]


def test_the_formats_are_those_of_the_report():
    assert tuple(comparison_report.FORMATS) == compare.FORMATS


def test_a_sweep_stands_for_its_finished_runs(sweep, capsys):
    run(sweep)
    printed = capsys.readouterr()
    assert "1 of 3 runs are not finished, and left out" in printed.err and "db_focal" not in printed.out
    assert printed.out.startswith("mAP on 80 test images") and "fewer than 3 seeds" in printed.out
    (sweep / "name=bce" / "results.json").unlink()
    (sweep / "name=ndlp" / "results.json").unlink()
    with pytest.raises(UserError, match=f"No run of the sweep in {sweep} is finished; run its command again."):
        run(sweep)


def test_parts_have_titles(sweep, capsys):
    run(sweep, "--within=method.name", "--format=markdown")
    out = capsys.readouterr().out
    assert "## method.name = bce" in out and "## method.name = ndlp" in out and "Differences" not in out


def test_a_table_is_written_where_it_should_be(sweep, tmp_path, capsys):
    run(sweep / "name=bce", sweep / "name=ndlp", "--format=html", f"--out={tmp_path}/table.html")
    assert (tmp_path / "table.html").read_text().startswith("<!doctype html>") and capsys.readouterr().out == ""
    with pytest.raises(UserError, match=f"The file {tmp_path}/table.html exists; remove it, or give another --out"):
        run(sweep / "name=bce", f"--out={tmp_path}/table.html")
    with pytest.raises(UserError, match=f"{tmp_path}/no/table.md cannot be written .*; give another --out"):
        run(sweep / "name=bce", f"--out={tmp_path}/no/table.md")


def test_wrong_words_are_one_sentence(sweep):
    for words, sentence in (
        ([], "^--workdir is missing; see `ltpml compare --help`"),
        ([sweep, "--format=pdf"], "--format is 'pdf'; choose one of text, markdown, html"),
        ([sweep, "--byy=x"], "There is no flag --byy; did you mean --by?"),
    ):
        with pytest.raises(UserError, match=sentence):
            parse(*words)
    with pytest.raises(UserError, match="There is no run in /nowhere"):
        run("/nowhere")


def test_help_names_the_arguments():
    assert cli.help_text("compare", compare.COMMAND).startswith("usage: ltpml compare WORKDIR... [--FLAG=VALUE ...]")


@pytest.mark.processes
def test_the_command_reads_real_runs_where_the_dataset_is_gone(tmp_path):
    """A finished run against a copy of it: no difference, p = 1, and the table's own scores."""
    copy = runs.copy_of_finished(tmp_path)
    config = json.loads((copy / "config.json").read_text())
    config["data"]["dir"], config["optim"]["learning_rate"] = "/gone", 0.5
    (copy / "config.json").write_text(json.dumps(config))
    done = runs.call([*runs.python("compare"), str(copy), str(runs.finished())])
    assert done.returncode == 0, done.stderr
    own = json.loads((copy / "results.json").read_text())["test"]["last (epoch 2)"]["mAP_total"]
    assert done.stdout.count(f" {own:.2f} ") == 2 and "+0.00  +0.00 to +0.00  1.000" in done.stdout
    assert "optim.learning_rate" in done.stdout and " 4,608 " in done.stdout
