"""The corrupt command: what it makes, and that everything wrong with its flags is named at once."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from ltpml_jax import cli
from ltpml_jax.commands import corrupt
from ltpml_jax.data import corruption, datasets, locations, manifest
from ltpml_jax.data.labels import LabelState
from ltpml_jax.errors import UserError
from tests.helpers import runs
from tests.helpers.labels import candidate_sets


@pytest.fixture(scope="module")
def train() -> datasets.Split:
    return datasets.load("digits_mlt", str(runs.data_dir())).train


def words(**given: object) -> list[str]:
    return [f"--{name}={value}" for name, value in given.items()]


def run(**given: object) -> None:
    """The command in this process, on digits_mlt."""
    arguments = words(dataset="digits_mlt", data_dir=runs.data_dir(), **given)
    corrupt.COMMAND.run(cli.parse("corrupt", corrupt.COMMAND, arguments))


@pytest.mark.processes
def test_the_command_makes_what_the_functions_make(train, tmp_path):
    out = tmp_path / "some.safetensors"
    flags = {"kind": "missing", "rate": 0.4, "seed": 3, "keep_one": True, "out": out}
    done = runs.call([*runs.python("corrupt"), *words(dataset="digits_mlt", data_dir=runs.data_dir(), **flags)])
    assert (done.returncode, done.stderr) == (0, "")
    found = manifest.load(out)
    assert (found.table == corruption.missing(train.labels, 0.4, 3, keep_one=True)).all()
    assert found.origin == {
        "kind": "missing",
        "parameters": {"rate": 0.4, "keep_one": True},
        "seed": 3,
        "dataset": "digits_mlt",
        "source": manifest.digest(train.labels),
    }
    manifest.check(found, train.labels, "digits_mlt")
    lines = done.stdout.splitlines()
    assert f"sha256 {found.digest}" in lines and lines[-1] == (
        f"use it with --config.data.candidates={out} --config.data.unknown=unknown"
    )
    dropped = (found.table == LabelState.UNKNOWN)[train.labels == 1].mean()
    assert f"of the positives became unknown: {dropped:.4f}" in lines


@pytest.mark.parametrize("kind", corrupt.KINDS)
def test_every_kind_can_be_made_and_belongs_to_its_dataset(tmp_path, train, kind, capsys):
    out = tmp_path / "x.safetensors"
    run(kind=kind, out=out, **({} if kind == "single" else {"rate": 0.25}))
    found = manifest.load(str(out))
    manifest.check(found, train.labels, "digits_mlt")
    assert found.origin["kind"] == kind and f"sha256 {found.digest}" in capsys.readouterr().out.splitlines()
    before = out.read_bytes()
    run(kind=kind, out=out, **({} if kind == "single" else {"rate": 0.25}))  # the same command again
    with pytest.raises(UserError, match=f"{out} exists; remove it, or give another --out"):
        run(kind="partial", rate=0.5, out=out)
    assert out.read_bytes() == before


def test_the_references_candidates_come_in_by_their_own_list(tmp_path, train):
    ids = [train.records[row]["id"] for row in range(len(train.labels))]
    table = candidate_sets(train.labels, 0.3, 0)
    order = np.random.default_rng(0).permutation(len(ids))
    cache, listed, out = (str(tmp_path / name) for name in ("cache.npy", "list.txt", "some.safetensors"))
    np.save(cache, np.array({"partial_labels": table[order][:, None].astype(np.float64)}, object))
    Path(listed).write_text("\n".join(f"images/{ids[row]}.jpg 1" for row in order))
    with pytest.raises(UserError, match="probably their rows follow another list of images; import them with --order"):
        run(import_npy=cache, out=out)
    assert not Path(out).exists()
    run(import_npy=cache, order=listed, out=out)
    found = manifest.load(out)
    assert (found.table == table * LabelState.CANDIDATE).all()
    assert found.origin["kind"] == "import" and found.origin["seed"] is None


@pytest.mark.processes
def test_a_file_that_is_no_npy_is_one_sentence(tmp_path):
    shutil.copy(__file__, tmp_path / "some.npy")
    flags = {"import_npy": tmp_path / "some.npy", "out": tmp_path / "some.safetensors"}
    done = runs.call([*runs.python("corrupt"), *words(dataset="digits_mlt", data_dir=runs.data_dir(), **flags)])
    assert "some.npy is not sound plain data" in runs.sentence(done)


WRONG = [
    ({}, "Give either --kind or --import_npy, and not both."),
    ({"kind": "partial", "rate": 0.3, "import_npy": "x.npy"}, "Give either --kind or --import_npy, and not both."),
    ({"kind": "partial", "rate": 0.3, "order": "list.txt"}, "--order belongs to --import_npy; leave it out."),
    ({"kind": "partial", "rate": 0.3, "keep_one": True}, "--keep_one belongs to --kind=missing; leave it out."),
    ({"kind": "partial"}, "--kind=partial needs a --rate; add one."),
    ({"kind": "single", "rate": 0.3}, "--rate means nothing to --kind=single; leave it out."),
    ({"import_npy": "x.npy", "rate": 0.3}, "--rate means nothing to --import_npy; leave it out."),
]


@pytest.mark.parametrize(("given", "sentence"), WRONG)
def test_flags_that_do_not_go_together_are_refused(given, sentence):
    with pytest.raises(UserError) as caught:
        run(**given, out="x.safetensors")
    assert str(caught.value) == sentence


OUT_OF_RANGE = [
    ({"kind": "partial", "rate": 1.5}, "the partial rate is 1.5; set it to at least 0 and below 1."),
    ({"kind": "keep", "rate": 0}, "the share of labels left is 0"),
    ({"kind": "partial", "rate": 0.3, "seed": -1}, "the seed is -1; "),
]


@pytest.mark.parametrize(("given", "sentence"), OUT_OF_RANGE)
def test_numbers_out_of_range_are_refused_and_nothing_is_written(tmp_path, given, sentence):
    with pytest.raises(UserError, match=sentence):
        run(**given, out=tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["gs://b/a.safetensors", "http://b/a.safetensors"])
def test_places_that_cannot_be_reached_are_refused_before_anything_is_made(monkeypatch, place):
    monkeypatch.setattr(locations, "unreachable", lambda path: "is far" if "://" in str(path) else "")
    with pytest.raises(UserError, match=f"^{place} is far.$"):
        run(kind="single", out=place)


def test_all_that_is_wrong_is_reported_at_once():
    with pytest.raises(UserError) as caught:
        cli.parse("corrupt", corrupt.COMMAND, words(kind="missing", import_npy="x"))
    assert str(caught.value) == (
        "--dataset and --out are missing; see `ltpml corrupt --help`. "
        "Give either --kind or --import_npy, and not both. --kind=missing needs a --rate; add one."
    )


def test_what_came_out_is_counted_by_hand():
    before = np.array([[1, 0, 0], [0, 0, 1]], np.int8)
    after = np.array([[3, 2, 0], [0, 2, 1]], np.int8)
    made = manifest.Manifest(after, {"kind": "some", "dataset": "mine"}, "ab")
    assert corrupt.description(before, made) == [
        "some of mine: 2 images, 3 classes",
        "sha256 ab",
        "labels of an image, on the average: 1.00 negative, 0.50 positive, 1.00 candidate, 0.50 unknown",
        "of the negatives became candidates: 0.5000",
        "of the positives became unknown: 0.5000",
        "of all labels are still known: 0.5000",
    ]
    assert "of the positives became unknown: -" in corrupt.description(before * 0, made)
