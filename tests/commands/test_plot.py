"""The plot command: pictures and numbers of runs whose dataset is there or gone, and what it refuses."""

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ltpml_jax import cli
from ltpml_jax.commands import plot
from ltpml_jax.errors import UserError
from ltpml_jax.evaluation import expected_thresholds
from ltpml_jax.evaluation.metrics import average_precision
from ltpml_jax.plotting import plot_folder, plotted_run
from tests.helpers import runs, workdirs

STATES = workdirs.labels(60)
ALWAYS = ["ap_by_frequency", "curves", "distribution", "reliability", "confusion"]


def parse(*words: object):
    return cli.parse("plot", plot.COMMAND, [str(word) for word in words])


def run(*words: object) -> None:
    plot.COMMAND.run(parse(*words))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def make(folder: Path, skill: float = 2.0, **changes) -> Path:
    """A finished run of two epochs, whose dataset is gone."""
    logits = workdirs.guesses(STATES, skill, 1)
    workdir = workdirs.write(folder, STATES, logits, {"data.dir": str(folder / "gone")}, **changes)
    with (workdir / "metrics.jsonl").open("a") as file:
        for epoch in (0, 1):
            line = {"step": 10, "epoch": epoch, "epoch_loss": 1 / (epoch + 1), "validation_mAP": None}
            file.write(json.dumps(line) + "\n")
    return workdir


@pytest.fixture
def workdir(tmp_path) -> Path:
    return make(tmp_path / "run")


@pytest.fixture(autouse=True)
def blank_pictures(monkeypatch):
    """Laying out and drawing are most of the time; plotting/test_readable.py looks at what is drawn."""
    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", lambda engine, figure: None)
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: Path(path).touch())


def test_what_is_drawn_without_the_dataset(workdir, capsys, monkeypatch):
    monkeypatch.undo()  # blank_pictures
    run(workdir)
    out = workdir / "plots"
    assert all((out / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in ALWAYS)
    files = {f"{name}.{kind}" for name in ALWAYS for kind in ("png", "csv")}
    assert {path.name for path in out.iterdir()} == files | {"plots.json"}
    assert capsys.readouterr().out.startswith(f"Written to {out}: ap_by_frequency.png, ap_by_frequency.csv, ")
    record = json.loads((out / "plots.json").read_text())
    assert record["runs"] == {"run": str(workdir)} and set(record["files"]) == files
    assert record["left_out"] == [
        "run: no beliefs, and no counts of training labels: The dataset digits_mlt is not in "
        f"{workdir / 'gone'}; --data_dir says where it lies."
    ]
    assert not (workdir / "gone").exists()


def test_the_numbers_are_those_of_the_work_directory(workdir):
    run(workdir)
    logits = workdirs.guesses(STATES, 2.0, 1)
    found = rows(workdir / "plots" / "ap_by_frequency.csv")
    assert [float(row["ap"]) for row in found] == pytest.approx(average_precision(logits, STATES), rel=1e-5)
    assert [float(row["count"]) for row in found] == workdirs.record()["class_counts"]
    losses = [
        (row["epoch"], row["epoch_loss"], row["validation_mAP"]) for row in rows(workdir / "plots" / "curves.csv")
    ]
    assert losses == [("1", "1", ""), ("2", "0.5", "")]
    shares = {row["class"]: row for row in rows(workdir / "plots" / "distribution.csv")}
    assert float(shares["a"]["estimated by the run"]) == 200.0  # counts 200 of 100 images, as they were written
    assert float(shares["b"]["true test labels"]) == pytest.approx(100 * STATES[:, 1].mean(), rel=1e-5)


def test_what_is_said_is_above_the_runs_thresholds(workdir):
    run(workdir)
    at_half = rows(workdir / "plots" / "confusion.csv")
    expected_thresholds.save(workdir, tuple("abcdef"), np.full(6, 0.999), 10, "60 images")
    run(workdir)
    above = rows(workdir / "plots" / "confusion.csv")
    cells = [row[name] for row in above for name in row if name.startswith("predicted:")]
    assert set(cells) == {"", "0"} and above != at_half
    expected_thresholds.save(workdir, tuple("abcdeg"), np.full(6, 0.5), 10, "60 images")
    with pytest.raises(UserError, match="thresholds.json has other classes than the run; make it with `ltpml evaluate"):
        run(workdir)


def test_several_runs_share_two_plots_and_have_the_others_each(tmp_path):
    one, two = make(tmp_path / "a" / "run"), make(tmp_path / "b" / "run", 1.0)
    run(f"--workdir={one},{two}", f"--out={tmp_path}/out", "--format=svg")
    names = {path.name for path in (tmp_path / "out").glob("*.svg")}
    each = {f"{name}-{end}_run.svg" for name in ALWAYS[2:] for end in "ab"}
    assert names == {"ap_by_frequency.svg", "curves.svg"} | each
    assert {row["run"] for row in rows(tmp_path / "out" / "curves.csv")} == {"a/run", "b/run"}


def test_a_sweeps_run_has_commas_in_its_name(tmp_path):
    workdir = make(tmp_path / "rate=0.1,seed=0")
    run(f"--workdir={workdir}")
    assert (workdir / "plots" / "curves.csv").exists()


def test_earlier_plots_are_replaced_and_a_users_files_stay(tmp_path):
    one, two = make(tmp_path / "one"), make(tmp_path / "two")
    out = tmp_path / "out"
    run(one, two, f"--out={out}")
    (out / "notes.txt").write_text("mine")
    run(one, f"--out={out}")
    files = {f"{name}.{kind}" for name in ALWAYS for kind in ("png", "csv")}
    assert {path.name for path in out.iterdir()} == files | {"plots.json", "notes.txt"}


def test_the_list_of_earlier_plots_reaches_no_other_folder(workdir):
    run(workdir)
    mark = workdir / "plots" / "plots.json"
    mark.write_text(json.dumps(json.loads(mark.read_text()) | {"files": ["../config.json", "..", 3]}))
    run(workdir)
    assert (workdir / "config.json").exists()


def test_the_folder_of_something_else_is_refused(workdir, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="other exists and is no folder of plots; give another --out"):
        run(workdir, f"--out={tmp_path}/other")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file exists and is no folder of plots"):
        run(workdir, f"--out={tmp_path}/file")
    with pytest.raises(UserError, match="cannot be written .*; give another --out"):
        run(workdir, f"--out={tmp_path}/file/below")


def test_runs_that_cannot_be_plotted_are_one_sentence(workdir, tmp_path):
    with pytest.raises(UserError, match="There is no run in /nowhere"):
        run("/nowhere")
    bare = make(tmp_path / "bare")
    (bare / "predictions-test.npz").unlink()
    with pytest.raises(UserError, match=f"There is no predictions-test.npz in {bare}; finish its run, or make it"):
        run(bare)
    other = make(tmp_path / "other", model={"class_names": list("abcdeg")})
    with pytest.raises(UserError, match="have other classes; .* runs of one test split"):
        run(workdir, other, f"--out={tmp_path}/out")
    assert not (tmp_path / "out").exists()


def test_wrong_words_are_one_sentence(workdir):
    for words, sentence in (
        ([], "^--workdir is missing; see `ltpml plot --help`"),
        ([workdir, "--format=pdf"], "--format is 'pdf'; choose one of png, svg"),
        ([workdir, workdir], "--out is missing; plots of several runs need a folder"),
    ):
        with pytest.raises(UserError, match=sentence):
            parse(*words)


def test_without_matplotlib_it_names_the_extra(workdir, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=re.escape('not installed: pip install "ltpml_jax[plot]".')):
        run(workdir)
    assert not (workdir / "plots").exists()


def test_labels_tell_runs_apart_and_make_names_of_files():
    paths = [Path("/x/a/run"), Path("/x/b/run"), Path("/x/b/name=bce,seed=0")]
    assert plotted_run.labels(paths) == ["a/run", "b/run", "b/name=bce,seed=0"]
    assert plotted_run.labels(paths[:1]) == ["run"]
    assert plot_folder.endings(["one"]) == [""]
    assert plot_folder.endings(["a/run", "a run", "name=bce,seed=0"]) == ["-a_run-1", "-a_run-2", "-name=bce,seed=0"]


def test_an_interrupted_run_without_epochs_has_no_curves(workdir):
    (workdir / "metrics.jsonl").unlink()
    run(workdir)
    assert not (workdir / "plots" / "curves.png").exists()
    assert "No curves" in json.loads((workdir / "plots" / "plots.json").read_text())["left_out"][0]


def test_epochs_whose_records_are_lost_are_counted(workdir):
    path = workdir / "metrics.jsonl"
    path.write_text(
        "".join(line for line in path.read_text().splitlines(keepends=True) if '"epoch_loss": 1.0' not in line)
    )
    run(workdir)
    sentence = "run: the curves lack 1 earlier epochs, whose records metrics.jsonl has lost."
    assert sentence in json.loads((workdir / "plots" / "plots.json").read_text())["left_out"]
    assert [row["epoch"] for row in rows(workdir / "plots" / "curves.csv")] == ["2"]


@pytest.mark.processes
def test_a_real_run_with_its_dataset_shows_beliefs_and_true_counts(tmp_path):
    copy = runs.copy_of_finished(tmp_path)
    done = runs.call([*runs.python("plot"), f"--workdir={copy}"])
    assert done.returncode == 0, done.stderr
    found = rows(copy / "plots" / "beliefs.csv")
    assert {row["true"] for row in found} == {"0", "1"} and len({row["id"] for row in found}) == 6
    results = json.loads((copy / "results.json").read_text())
    last = rows(copy / "plots" / "curves.csv")[-1]
    known = {name: value for name, value in results["corrected_labels"].items() if value is not None}
    assert len(known) == 4 and {name: float(last[name]) for name in known} == pytest.approx(known, rel=1e-5)
    scores = {row["class"]: float(row["ap"]) for row in rows(copy / "plots" / "ap_by_frequency.csv")}
    assert scores == pytest.approx(results["class_AP"]["last (epoch 2)"], rel=1e-5)
    shares = rows(copy / "plots" / "distribution.csv")
    assert all(float(row["candidates in training"]) >= float(row["true training labels"]) for row in shares)
    total = sum(float(row["soft labels, summed"]) for row in shares)
    assert total == pytest.approx(100, abs=1)  # NDLP shares one label out to each image


@pytest.mark.processes
def test_another_dataset_of_that_name_is_left_out(tmp_path, caplog):
    caplog.set_level("INFO", "ltpml_jax")
    copy = runs.copy_of_finished(tmp_path)
    config = json.loads((copy / "config.json").read_text())
    config["data"]["candidate_seed"] = 7
    (copy / "config.json").write_text(json.dumps(config))
    run(f"--workdir={copy}")
    assert "no beliefs, and no counts of training labels" in caplog.text
    assert not (copy / "plots" / "beliefs.png").exists()
