"""The prepare command: from people's files to a dataset and the command to run next; wrong ones in one sentence."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import flags

from ltpml_jax import cli
from ltpml_jax.commands import prepare
from ltpml_jax.data import datasets
from ltpml_jax.data.labels import LabelState
from tests.helpers import runs, trees

LISTS = {
    "lt_train.txt": "VOCdevkit/VOC2012/JPEGImages/a.jpg 1 0\r\nVOCdevkit/VOC2012/JPEGImages/b.jpg 1\r\n",
    "lt_test.txt": "VOCdevkit/VOC2007/JPEGImages/c.jpg 0\nVOCdevkit/VOC2007/JPEGImages/d.jpg 0 1",
    "labels.txt": "dog 0\r\ntraffic light 1",
}


class Attack:
    def __reduce__(self):
        import os

        return os.system, ("touch ltpml_jax_was_attacked",)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Lists, images (the whole ones in `data`, one missing and one cut short in `damaged`), and files of own labels."""
    root = tmp_path_factory.mktemp("prepare")
    trees.write_lists(root / "lists", "voc", LISTS)
    trees.write_lists(root / "attack", "voc", LISTS)
    (root / "attack" / "class_freq.pkl").write_bytes(pickle.dumps(Attack()))
    years = {"a": 2012, "b": 2012, "c": 2007, "d": 2007}
    paths = [f"VOCdevkit/VOC{year}/JPEGImages/{name}.jpg" for name, year in years.items()]
    for folder in ("data", "damaged"):
        trees.plant(root / folder, paths, 4, ((64, 48),))
    (root / "damaged" / paths[0]).unlink()
    trees.replace(root / "damaged" / paths[2], trees.photograph(2, (64, 48))[:600])
    trees.plant(root / "own", [f"{number}.jpg" for number in range(10)], 2, ((64, 48),))
    rows = [f"{number}.jpg,{number % 2},{'?' if number == 3 else 1}" for number in range(10)]
    (root / "own.csv").write_text("\n".join(["path,cat,a dog", *rows]))
    (root / "own.json").write_text(json.dumps(coco(range(8))))
    (root / "own_test.json").write_text(json.dumps(coco(range(8, 10))))
    annotations = root / "voc" / "Annotations"
    annotations.mkdir(parents=True)
    for number in range(10):
        (annotations / f"{number}.xml").write_text(
            f"<annotation><filename>{number}.jpg</filename><object><name>cat{number % 2}</name></object></annotation>"
        )
    return root


def coco(numbers: range) -> dict:
    return {
        "images": [{"id": number, "file_name": f"{number}.jpg"} for number in numbers],
        "categories": [{"id": 1, "name": "cat"}, {"id": 7, "name": "a dog"}],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 1 if number % 2 else 7, "bbox": [0, 0, 1, 1]}
            for number in numbers
        ],
    }


def command(place: Path, dataset: str, **options: str) -> list[str]:
    flags = {"appendix": place / "lists", "images": place / "data", "out": place / "out"} | options
    given = [f"--{name}={value}" for name, value in flags.items() if value]
    return [*runs.python("prepare"), f"--dataset={dataset}", "--jobs=1", *given]


MANY = """
import contextlib, io, json, sys
from ltpml_jax import cli
from ltpml_jax.commands import prepare
outcomes = []
for words in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.redirect_stderr(io.StringIO()) as errors:
        status = 0
        try:
            cli.start("prepare", prepare.COMMAND, words)
        except SystemExit as left:
            status = left.code
        outcomes.append([status, output.getvalue(), errors.getvalue()])
print(json.dumps(outcomes))
"""


def call_many(commands: list[list[str]]) -> list[tuple[int, str, str]]:
    """Status, output and errors of several commands, one after the other in one process: starting one takes long."""
    start = len(runs.python("prepare"))
    arguments = json.dumps([wanted[start:] for wanted in commands])
    done = subprocess.run([sys.executable, "-c", MANY], input=arguments, cwd=runs.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.processes
def test_a_published_dataset_ends_with_the_command_that_trains_on_it(place):
    done = runs.call(command(place, "voc_mlt"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "voc_mlt: 2 classes; images: 4 found and whole, 0 missing, 0 corrupt"
    assert "  train: 2 images, 3 labels, 1.50 an image" in lines
    assert "  tail (< 20): 2 classes: traffic light 2, dog 1" in lines
    assert lines[-1] == (
        f"Train on it: ltpml train --config=configs/voc_mlt.py:0.3 --config.data.dir={place}/out --workdir=runs/voc_mlt"
    )
    assert [line.partition(" ")[2].partition(" ")[0] for line in done.stderr.splitlines()] == ["Checking", "Went"]
    again = runs.call(command(place, "voc_mlt"))
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.splitlines()[1:] == lines
    assert again.stdout.startswith("voc_mlt was prepared before")


@pytest.mark.processes
def test_damaged_images_stop_it_or_are_left_out(place, tmp_path):
    wanted = command(place, "voc_mlt", images=place / "damaged", out=tmp_path)
    other = command(place, "voc_mlt", images=place / "damaged", out=tmp_path / "other")
    refused, *done = call_many([wanted, [*wanted, "--skip-bad"], [*other, "--skip_bad"]])
    assert refused[0] == 2 and "error: Of 4 images, 1 are missing, 1 corrupt" in refused[2]
    assert "a.jpg: missing" in refused[2] and "c.jpg: " in refused[2]
    for status, output, errors in done:
        assert status == 0, errors
        assert "2 found and whole, 1 missing, 1 corrupt (skipped)" in output
        assert f"skipped: {place}/damaged/VOCdevkit/VOC2012/JPEGImages/a.jpg: missing" in output
        assert "note: skipped images change class counts in train: dog 1 -> 0, traffic light 2 -> 1" in output
    dataset = datasets.load("voc_mlt", str(tmp_path))
    np.testing.assert_array_equal(dataset.train.labels, [[0, 1]])


OWN = {
    "csv": ({"csv": "{0}/own.csv", "test_share": "0.2"}, (8, 2, 0)),
    "coco": ({"coco": "train={0}/own.json,test={0}/own_test.json"}, (8, 2, 0)),
    "coco-one": ({"coco": "{0}/own.json", "test_share": "0.25", "validation_share": "0.25"}, (4, 2, 2)),
    "voc": ({"voc": "{0}/voc", "test_share": "0.3", "seed": "1"}, (7, 3, 0)),
}


@pytest.mark.processes
def test_own_labels_become_datasets(place):
    commands = [
        command(place, kind, appendix="", images=place / "own", **{k: v.format(place) for k, v in options.items()})
        for kind, (options, _) in OWN.items()
    ]
    for (kind, (_, expected)), (status, output, errors) in zip(OWN.items(), call_many(commands), strict=True):
        assert status == 0, errors
        assert f"--config=configs/own_data.py:{kind} --config.data.dir={place}/out" in output
        dataset = datasets.load(kind, str(place / "out"))
        validation = len(dataset.validation.records) if dataset.validation else 0
        assert (len(dataset.train.records), len(dataset.test.records), validation) == expected


@pytest.mark.processes
def test_a_dataset_is_corrected_and_corrected_again(place):
    (place / "corrections.csv").write_text("id,class,state,was,note\n3,a dog,?,0,\n4,cat,1,0,\n")
    labels = f"train={place}/own.json,test={place}/own_test.json"
    own = command(place, "audited", appendix="", images=place / "own", coco=labels)
    options = {"appendix": "", "images": "", "corrections": place / "corrections.csv"}
    commands = [
        command(place, f"mine{n + 1}", **options, **{"from": source}) for n, source in ((0, "audited"), (1, "mine1"))
    ]
    first, *rest = call_many([own, *commands])
    assert first[0] == 0, first[2]
    for (status, output, errors), note in zip(rest, ("2 labels of audited", "0 labels of mine1"), strict=True):
        assert status == 0, errors
        assert f"note: {note} corrected by corrections.csv" in output and "own_data.py:mine" in output
    before, *after = (datasets.load(name, str(place / "out")).train.labels for name in ("audited", "mine1", "mine2"))
    np.testing.assert_array_equal(*after)
    assert (after[0] != before).sum() == 2


@pytest.mark.processes
def test_wrong_commands_end_in_one_sentence_and_status_2(place, tmp_path):
    own = {"appendix": "", "images": place / "own", "csv": place / "own.csv"}
    urls = tmp_path / "urls.csv"
    urls.write_text("path,cat\nhttps://x.org/a.jpg,1\n")
    commands = {
        "--dataset is missing": runs.python("prepare"),
        "'a b' cannot name a dataset": command(place, "a b"),
        "'digits_mlt' comes with this package": command(place, "digits_mlt"),
        "No appendix is known for 'mine'": command(place, "mine"),
        "--images is missing": command(place, "voc_mlt", images=""),
        "given: --appendix and --csv": command(place, "voc_mlt", csv=place / "own.csv"),
        "given: none": command(place, "mine", appendix=""),
        "There is no coco_lt_train.txt in": command(place, "coco_mlt"),
        "None of the images of voc_lt_train.txt": command(place, "voc_mlt", images=tmp_path),
        "delete it: it is only compared": command(place, "voc_mlt", appendix=place / "attack"),
        "no image in the split test": command(place, "mine", **own),
        "two files for the split train": command(place, "mine", appendix="", coco="a.json,b.json"),
        "leave --images out": command(place, "mine", appendix="", corrections="c.csv", **{"from": "own"}),
        "--from and --corrections go together": command(place, "mine", appendix="", images="", **{"from": "own"}),
        "--difficult is about the objects of --voc": command(place, "mine", **own, difficult="negative"),
        "leave --seed out": command(
            place, "mine", appendix="", images="", corrections="c.csv", seed=4, **{"from": "own"}
        ),
        "There is no folder --images=/nowhere": command(
            place, "mine", appendix="", csv=place / "own.csv", images="/nowhere"
        ),
        "line 2 of": command(place, "mine", **own | {"csv": urls}),
        "ftp://x/y is an address that cannot be opened": command(place, "voc_mlt", images="ftp://x/y"),
        "http://x/out is an address that cannot be opened": command(
            place, "mine", **own, test_share="0.2", out="http://x/out"
        ),
        "http://x/voc is an address that cannot be opened": command(place, "mine", appendix="", voc="http://x/voc"),
        "needs a client that is not installed": command(place, "voc_mlt", images="s3://bucket/images"),
    }
    for message, (status, output, errors) in zip(commands, call_many(list(commands.values())), strict=True):
        assert (status, output, errors.count("\n")) == (2, "", 1), errors
        assert errors.startswith("error: ") and message in errors
    assert not (runs.ROOT / "ltpml_jax_was_attacked").exists()


def test_the_default_folder_needs_no_flag_in_the_command_that_trains():
    assert prepare._next("mine", cli.DATA_DIR) == "ltpml train --config=configs/own_data.py:mine --workdir=runs/mine"
    assert "--config.data.dir='a b' --workdir" in prepare._next("mine", "a b")


def test_the_states_of_difficult_objects_are_the_four_of_a_label():
    values = flags.FlagValues()
    prepare.define(values)
    assert list(values["difficult"].parser.enum_values) == [state.name.lower() for state in LabelState]


@pytest.mark.processes
@pytest.mark.skipif(not trees.REFERENCE.exists(), reason="the published lists are not here")
def test_the_published_lists_and_pickles_as_they_are(tmp_path):
    lists = [trees.REFERENCE / "voc" / f"voc_lt_{split}.txt" for split in ("train", "test")]
    trees.plant(tmp_path / "data", [path for file in lists for path in trees.listed(file)], 8, ((32, 24),))
    wanted = command(tmp_path, "voc_mlt", appendix=trees.REFERENCE)
    done = runs.call([argument for argument in wanted if argument != "--jobs=1"])
    assert done.returncode == 0, done.stderr
    assert "6094 found and whole" in done.stdout and "note" not in done.stdout
    assert "6 classes: person 775, chair 479" in done.stdout
