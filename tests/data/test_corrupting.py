from pathlib import Path

import numpy as np
import pytest

from ltpml_jax.data import corrupting, datasets, manifest
from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.listing import ListedSplit, Listing
from ltpml_jax.data.writing import writer
from ltpml_jax.errors import UserError
from tests import runs, trees
from tests.helpers.labels import candidate_sets
from tests.test_imports import imported


@pytest.fixture(scope="module")
def train() -> datasets.Split:
    return datasets.load("digits_mlt", str(runs.data_dir())).train


@pytest.fixture(scope="module")
def prepared_dir(tmp_path_factory) -> Path:
    """Where a prepared dataset `mine` of 40 images lies."""
    root = tmp_path_factory.mktemp("prepared")
    paths = [str(root / f"{row}.jpg") for row in range(40)]
    trees.plant(root, [f"{row}.jpg" for row in range(40)], 2, ((64, 48),))
    states = np.random.default_rng(0).integers(0, 2, (40, 3)).astype(np.int8)
    split = ListedSplit([str(row) for row in range(40)], paths, states)
    writer.write("mine", Listing(("a", "b", "c"), {"train": split, "test": split}), root, jobs=1)
    return root


FULFIL = """
from ltpml_jax.data import corrupting
corrupting.fulfil(corrupting.Request({name!r}, {folder!r}, {out!r}, "partial", 0.3, 0, False, "", ""))
"""
SLOW = {"tensorflow_datasets", "orbax", "sklearn", "grain", "jax", "flax", "torch", "tensorflow"}


@pytest.mark.parametrize("name", ["digits_mlt", "mine"])
def test_it_imports_nothing_that_takes_long(prepared_dir, tmp_path, name):
    folder, out = runs.data_dir() if name == "digits_mlt" else prepared_dir, tmp_path / "some.safetensors"
    names = imported(FULFIL.format(name=name, folder=str(folder), out=str(out)))
    assert manifest.load(out).origin["dataset"] == name
    assert {name.partition(".")[0] for name in names} & SLOW == set()


def fulfil(**changed: object) -> list[str]:
    nothing = {"kind": None, "rate": None, "seed": 0, "keep_one": False, "imported": "", "order": ""}
    given = {"dataset": "digits_mlt", "data_dir": str(runs.data_dir())} | nothing | changed
    return corrupting.fulfil(corrupting.Request(**given))  # pyright: ignore[reportArgumentType]


def test_the_references_candidates_come_in_by_their_own_list(tmp_path, train):
    ids = [train.records[row]["id"] for row in range(len(train.labels))]
    table = candidate_sets(train.labels, 0.3, 0)
    order = np.random.default_rng(0).permutation(len(ids))
    cache, listed, out = (str(tmp_path / name) for name in ("cache.npy", "list.txt", "some.safetensors"))
    np.save(cache, np.array({"partial_labels": table[order][:, None].astype(np.float64)}, object))
    Path(listed).write_text("\n".join(f"images/{ids[row]}.jpg 1" for row in order))
    with pytest.raises(UserError, match="probably their rows follow another list of images; import them with --order"):
        fulfil(imported=cache, out=out)
    assert not Path(out).exists()
    fulfil(imported=cache, order=listed, out=out)
    found = manifest.load(out)
    assert (found.table == table * LabelState.CANDIDATE).all()
    assert found.origin["kind"] == "import" and found.origin["seed"] is None


def test_what_came_out_is_counted_by_hand():
    before = np.array([[1, 0, 0], [0, 0, 1]], np.int8)
    after = np.array([[3, 2, 0], [0, 2, 1]], np.int8)
    found = manifest.Manifest(after, {"kind": "some", "dataset": "mine"}, "ab")
    assert corrupting.describe(before, found) == [
        "some of mine: 2 images, 3 classes",
        "sha256 ab",
        "labels of an image, on the average: 1.00 negative, 0.50 positive, 1.00 candidate, 0.50 unknown",
        "of the negatives became candidates: 0.5000",
        "of the positives became unknown: 0.5000",
        "of all labels are still known: 0.5000",
    ]
    assert "of the positives became unknown: -" in corrupting.describe(before * 0, found)


GOOD = {"kind": "partial", "rate": 0.3, "out": "x.safetensors"}
WRONG = [
    ({"kind": None}, "Give either --kind or --import_npy, and not both."),
    ({"imported": "x.npy"}, "Give either --kind or --import_npy, and not both."),
    ({"order": "list.txt"}, "--order belongs to --import_npy"),
    ({"keep_one": True}, "--keep_one belongs to --kind=missing"),
    ({"rate": None}, "--kind=partial needs a --rate"),
    ({"kind": "single"}, "--rate means nothing to --kind=single"),
    ({"kind": None, "imported": "x.npy"}, "--rate means nothing to --import_npy"),
    ({"rate": 1.5}, "the partial rate is 1.5; set it to at least 0 and below 1."),
    ({"kind": "keep", "rate": 0}, "the share of labels left is 0; "),
    ({"seed": -1}, "the seed is -1; "),
]


@pytest.mark.parametrize(("changed", "sentence"), WRONG)
def test_flags_that_do_not_go_together_are_refused(tmp_path, changed, sentence):
    given = GOOD | {"out": str(tmp_path / "x.safetensors")}
    with pytest.raises(UserError, match=sentence):
        fulfil(**(given | changed))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", corrupting.KINDS)
def test_every_kind_can_be_made_and_belongs_to_its_dataset(tmp_path, train, kind):
    rate = None if kind == "single" else 0.25
    out = str(tmp_path / "x.safetensors")
    lines = fulfil(kind=kind, rate=rate, out=out)
    found = manifest.load(out)
    manifest.check(found, train.labels, "digits_mlt")
    assert found.origin["kind"] == kind and f"sha256 {found.digest}" in lines
