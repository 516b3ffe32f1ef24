"""The predict command: equal to evaluation bit for bit, continued, refused, and as pseudo labels."""

import csv
import functools
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from ltpml_jax import cli, open_run
from ltpml_jax.commands import predict
from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.readers import tables
from ltpml_jax.errors import UserError
from ltpml_jax.evaluation import outcome, predictions_file
from ltpml_jax.evaluation.expected_thresholds import scores
from ltpml_jax.evaluation.opened import OpenRun
from tests.helpers import runs, session

pytestmark = pytest.mark.processes


@functools.cache
def opened() -> OpenRun:
    """On all devices, as the command has it."""
    return open_run(runs.finished(), all_devices=True)


@functools.cache
def images() -> Path:
    """A folder of all test images, as files whose names sort in their order."""
    return session.once("test_images", write_images)


def write_images(folder: Path) -> None:
    folder.mkdir()
    records = opened().run.task.dataset.test.records
    for row in range(len(records)):
        (folder / f"{row:04}.png").write_bytes(records[row]["image"])


def run(*words: str) -> None:
    predict.COMMAND.run(cli.parse("predict", predict.COMMAND, [f"--workdir={runs.finished()}", *words]))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def read_scores(found: list[dict[str, str]]) -> np.ndarray:
    return np.array([[row[f"score:{name}"] for name in opened().class_names] for row in found], np.float32)


def test_scores_of_files_are_those_of_evaluation_bit_for_bit(tmp_path):
    run(str(images()), f"--out={tmp_path}/o.csv")
    evaluated = outcome.test_outputs(opened().run, opened().state)["network"]
    found = rows(tmp_path / "o.csv")
    assert [row["path"] for row in found] == sorted(map(str, images().iterdir()))
    np.testing.assert_array_equal(read_scores(found), scores(evaluated))
    assert {row["error"] for row in found} == {""}


def test_one_device_gives_evaluations_logits_bit_for_bit():
    one = open_run(runs.finished())
    evaluated = outcome.test_outputs(one.run, one.state)["network"]
    np.testing.assert_array_equal(one.predict(sorted(images().iterdir())), evaluated)


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_an_unreadable_image_is_a_row_and_a_status_and_resuming_keeps_what_is_there(tmp_path, ending, capsys):
    places = [images() / f"{row:04}.png" for row in range(6)]
    torn = tmp_path / "torn.png"
    torn.write_bytes(b"no image")
    words = [*map(str, places[:2]), str(torn), *map(str, places[2:])]
    for out, inputs in (("whole", words), ("parts", words[:4])):
        with pytest.raises(SystemExit) as caught:
            run(*inputs, f"--out={tmp_path}/{out}{ending}", "--threshold=0.5", "--batch_size=8")
        assert caught.value.code == 1
    before = (tmp_path / f"parts{ending}").read_bytes()
    with pytest.raises(UserError, match=r"exists; add --resume to continue it"):
        run(*words, f"--out={tmp_path}/parts{ending}")
    with pytest.raises(SystemExit):
        run(*words, f"--out={tmp_path}/parts{ending}", "--threshold=0.5", "--batch_size=8", "--resume")
    after = (tmp_path / f"parts{ending}").read_bytes()
    assert after.startswith(before) and after == (tmp_path / f"whole{ending}").read_bytes()
    assert "1 of 7 images cannot be read; their rows say why." in capsys.readouterr().err
    with pytest.raises(UserError, match="come from other thresholds; give the --workdir and --threshold that made it"):
        run(*words, f"--out={tmp_path}/parts{ending}", "--threshold=0.01", "--resume")


def test_strict_ends_at_the_first_one_and_keeps_the_rows_before_it(tmp_path):
    (tmp_path / "torn.png").write_bytes(b"no image")
    inputs = [str(images() / "0000.png"), str(tmp_path / "torn.png"), str(images() / "0001.png")]
    with pytest.raises(UserError, match=r"^The image .*torn.png cannot be read .*; give a whole image file"):
        run(*inputs, f"--out={tmp_path}/o.csv", "--strict")
    assert [row["path"] for row in rows(tmp_path / "o.csv")] == inputs[:1]


def test_without_a_file_the_highest_scores_are_printed(tmp_path):
    (tmp_path / "torn.png").write_bytes(b"no image")
    os.mkfifo(tmp_path / "pipe.png")
    words = [str(images() / "0003.png"), str(tmp_path / "torn.png"), str(tmp_path / "pipe.png"), "--top=2"]
    words.append("--threshold=0")
    done = runs.call([*runs.python("predict"), f"--workdir={runs.finished()}", *words])
    assert done.returncode == 1, done.stderr
    first, second, third, note = done.stdout.splitlines()
    best = np.argsort(-opened().predict([images() / "0003.png"])[0])[:2]
    shown = [part.rsplit(" ", 1) for part in first.split(": ")[1].split(", ")]
    assert [name for name, _ in shown] == [opened().class_names[j] for j in best]
    assert all(score.endswith("*") for _, score in shown) and note == "* present, by --threshold=0"
    assert second.startswith(f"{tmp_path}/torn.png: The image ") and "2 of 3 images cannot be read" in done.stderr
    assert "it is no regular file" in third


@pytest.fixture
def labels_table(tmp_path) -> Path:
    """Observed labels of twelve training images and a test image, relative to the folder of images."""
    path, classes = tmp_path / "observed.csv", opened().class_names
    cells = np.random.default_rng(0).choice(["0", "1", "?", ""], (13, len(classes)), p=[0.4, 0.2, 0.2, 0.2])
    lines = [",".join(["path", "id", "split", *classes])]
    for row, states in enumerate(cells):
        lines.append(",".join([f"{row:04}.png", f"image {row}", "train" if row < 12 else "test", *states]))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_pseudo_labels_are_read_back_by_prepare(tmp_path, labels_table, ending):
    out, folder, tau = tmp_path / f"p{ending}", str(images()), 0.3
    run(str(labels_table), f"--images={folder}", "--pseudo_labels", f"--tau={tau}", f"--out={out}")
    before, after = tables.read_table(str(labels_table), folder), tables.read_table(str(out), "/")
    assert after.class_names == opened().class_names
    order = [after.class_names.index(name) for name in before.class_names]
    train, filled = before.splits["train"], after.splits["train"].states[:, order]
    found = scores(opened().predict(train.paths))
    added = (found > tau) & np.isin(train.states, [LabelState.NEGATIVE, LabelState.UNKNOWN])
    assert 0 < added.sum() < added.size
    np.testing.assert_array_equal(filled, np.where(added, LabelState.POSITIVE, train.states))
    np.testing.assert_array_equal(after.splits["test"].states[:, order], before.splits["test"].states)
    assert after.splits["train"].ids == train.ids and after.splits["train"].paths == train.paths


def test_pseudo_labels_of_images_that_are_elsewhere_write_nothing(tmp_path, labels_table):
    with pytest.raises(
        UserError, match=r"None of the 12 training images can be read .*; name their folder in --images"
    ):
        run(str(labels_table), f"--images={tmp_path}", "--pseudo_labels", f"--out={tmp_path}/p.csv")
    assert not (tmp_path / "p.csv").exists()


def test_images_that_the_run_was_tested_on_get_no_pseudo_labels(tmp_path, labels_table, capsys):
    tested = set(predictions_file.load(runs.finished()).ids[:2])
    table, out = rows(labels_table), tmp_path / "p.csv"
    for row, name in zip(table, tested, strict=False):
        row["id"] = name
    with labels_table.open("w", newline="") as file:
        writer = csv.DictWriter(file, [name for name in table[0] if name != "split"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(table)
    words = [str(labels_table), f"--images={images()}", "--pseudo_labels"]
    run(*words, "--tau=0", f"--out={out}")
    assert "2 images are of the run's test split; they stay there." in capsys.readouterr().err
    written = {row["id"]: row for row in rows(out)}
    assert {name for name, row in written.items() if row["split"] == "test"} == tested
    for row in table:
        kept = [written[row["id"]][name] for name in opened().class_names] == [
            row[name] for name in opened().class_names
        ]
        assert kept == (row["id"] in tested)


def test_minus_one_means_to_pseudo_labels_what_it_means_to_prepare(tmp_path, labels_table):
    labels_table.write_text(labels_table.read_text().replace("?", "-1"))
    words = [str(labels_table), f"--images={images()}", "--pseudo_labels"]
    with pytest.raises(UserError, match="choose --minus_one=candidate"):
        run(*words, f"--out={tmp_path}/p.csv")
    run(*words, f"--out={tmp_path}/p.csv", "--minus_one=candidate", "--tau=1")
    names = opened().class_names
    mine = [[row[name].replace("?", "-1") for name in names] for row in rows(tmp_path / "p.csv")]
    assert mine == [[row[name] for name in names] for row in rows(labels_table)]
    with pytest.raises(UserError, match=r"--input names a file to read"):
        run(f"{tmp_path}/none.csv", "--pseudo_labels", f"--out={tmp_path}/q.csv")


def test_names_that_are_no_text_are_written_with_their_bytes(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(images() / "0003.png", os.fsencode(folder) + b"/\xff.png")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xfe.png")).write_bytes(b"no image")
    with pytest.raises(SystemExit):
        run(str(folder), f"--out={tmp_path}/o.csv")
    bad, good = rows(tmp_path / "o.csv")
    assert [row["path"] for row in (bad, good)] == [f"{folder}/\\x{name}.png" for name in ("fe", "ff")]
    assert bad["error"].startswith(f"The image {folder}/\\xfe.png cannot be read") and not good["error"]


def test_pseudo_labels_of_some_images_leave_unreadable_ones_out(tmp_path, labels_table, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    for row in range(13):
        (folder / f"{row:04}.png").write_bytes((images() / f"{row:04}.png").read_bytes())
    (folder / "0001.png").write_bytes(b"no image")
    given = [str(folder / f"{row:04}.png") for row in (2, 1, 0)]
    words = [f"--labels={labels_table}", f"--images={folder}", "--pseudo_labels", f"--out={tmp_path}/p.csv"]
    with pytest.raises(SystemExit) as caught:
        run(*given, *words)
    assert caught.value.code == 1 and "1 of 3 images cannot be read (no row" in capsys.readouterr().err
    assert [row["id"] for row in rows(tmp_path / "p.csv")] == ["image 2", "image 0"]
    (folder / "0099.png").touch()
    with pytest.raises(UserError, match=r"There are no labels of the image .*/0099.png"):
        run(str(folder / "0099.png"), *words[:-1], f"--out={tmp_path}/q.csv")


def test_labels_of_other_classes_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("path,cat\na.png,1\n")
    with pytest.raises(UserError, match="differ in classes: '0_cool' is one that only the run knows"):
        run(str(tmp_path / "t.csv"), "--pseudo_labels", f"--out={tmp_path}/p.csv")


WRONG = [
    (["a.png", "--resume"], "--resume continues a file; name it in --out."),
    (["a.png", "--pseudo_labels"], "--pseudo_labels writes a table; name it in --out."),
    (["a.csv", "--pseudo_labels", "--out=o.csv", "--resume"], "--pseudo_labels writes its table whole"),
    (["a.csv", "b.csv", "--pseudo_labels", "--out=o.csv"], "--pseudo_labels takes one table of images and labels"),
    (["a.csv", "--labels=b.csv", "--unlisted=unknown"], "--labels and --unlisted: only with --pseudo_labels."),
    (["a.csv", "--tau=0.2"], "--tau: only with --pseudo_labels."),
    (["a.csv", "--pseudo_labels", "--out=o.csv", "--tau=nan"], "--tau is nan; set it to a score from 0 to 1."),
    ([], "--input is missing"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG)
def test_flags_that_contradict_each_other_are_refused(words, sentence):
    with pytest.raises(UserError, match=sentence):
        cli.parse("predict", predict.COMMAND, ["--workdir=w", *words])


def test_refusals_come_before_anything_is_opened(tmp_path):
    for words, sentence in (
        (["no.png"], "There is no file or folder no.png"),
        ([str(images()), "--out=o.txt"], "--out is o.txt; end it in one of"),
        (["t.csv", "--pseudo_labels", "--out=o.jsonl"], "--out is o.jsonl; end it in one of .csv, .parquet"),
    ):
        with pytest.raises(UserError, match=sentence):
            predict.COMMAND.run(cli.parse("predict", predict.COMMAND, ["--workdir=/no/run", *words]))


def test_thresholds_of_a_file_decide(tmp_path):
    (tmp_path / "t.json").write_text(json.dumps(dict.fromkeys(opened().class_names, 1.0) | {"3_cool": 0.0}))
    run(str(images() / "0000.png"), f"--out={tmp_path}/o.csv", f"--threshold={tmp_path}/t.json")
    assert [row["labels"] for row in rows(tmp_path / "o.csv")] == ["3_cool"]
