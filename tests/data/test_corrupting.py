from pathlib import Path

import numpy as np
import pytest

from ltpml_jax.data import corrupting, corruption, datasets, manifest
from ltpml_jax.data.labels import LabelState
from ltpml_jax.errors import UserError
from tests import runs


@pytest.fixture(scope="module")
def train() -> datasets.Split:
    return datasets.load("digits_mlt", str(runs.data_dir())).train


def fulfil(**changed: object) -> list[str]:
    nothing = {"kind": None, "rate": None, "seed": 0, "keep_one": False, "imported": "", "order": ""}
    given = {"dataset": "digits_mlt", "data_dir": str(runs.data_dir())} | nothing | changed
    return corrupting.fulfil(corrupting.Request(**given))  # pyright: ignore[reportArgumentType]


def test_the_references_candidates_come_in_by_their_own_list(tmp_path, train):
    ids = [train.records[row]["id"] for row in range(len(train.labels))]
    table = corruption.draw_candidates(train.labels, 0.3, 0)
    order = np.random.default_rng(0).permutation(len(ids))
    cache, listed, out = (str(tmp_path / name) for name in ("cache.npy", "list.txt", "some.npz"))
    np.save(cache, np.array({"partial_labels": table[order][:, None].astype(np.float64)}, object))
    Path(listed).write_text("\n".join(f"images/{ids[row]}.jpg 1" for row in order))
    with pytest.raises(UserError, match="probably their rows follow another list of images; import them with --order"):
        fulfil(imported=cache, out=out)
    assert not Path(out).exists()
    fulfil(imported=cache, order=listed, out=out)
    found = manifest.load(out)
    assert (found.table == table * LabelState.CANDIDATE).all()
    assert found.facts["kind"] == "import" and found.facts["seed"] is None


GOOD = {"kind": "partial", "rate": 0.3, "out": "x.npz"}
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
    given = GOOD | {"out": str(tmp_path / "x.npz")}
    with pytest.raises(UserError, match=sentence):
        fulfil(**(given | changed))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", corrupting.KINDS)
def test_every_kind_can_be_made_and_belongs_to_its_dataset(tmp_path, train, kind):
    rate = None if kind == "single" else 0.25
    out = str(tmp_path / "x.npz")
    lines = fulfil(kind=kind, rate=rate, out=out)
    found = manifest.load(out)
    manifest.check(found, train.labels, "digits_mlt")
    assert found.facts["kind"] == kind and f"sha256 {found.digest}" in lines
