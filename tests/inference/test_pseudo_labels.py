"""Which images of a table get pseudo labels, where `prepare` cut its splits itself."""

from types import SimpleNamespace

import numpy as np

from ltpml_jax.config import default_config
from ltpml_jax.data.listing import ListedSplit, Listing
from ltpml_jax.data.writing import writer
from ltpml_jax.evaluation import predictions_file
from ltpml_jax.inference import pseudo_labels
from tests.helpers import trees, workdirs

SPLITS = {"train": 3, "validation": 2, "test": 2}


def run(folder):
    """A run on a dataset with a validation split, as far as this looks at one."""
    splits = {}
    for name, count in SPLITS.items():
        ids = [f"{name}{row}.jpg" for row in range(count)]
        trees.plant(folder / "images", ids, originals=1, sizes=((20, 20),))
        splits[name] = ListedSplit(
            ids, [str(folder / "images" / one) for one in ids], np.eye(2, dtype=np.int8)[:1].repeat(count, 0)
        )
    writer.write("mine", Listing(("a", "b"), splits), folder / "out", jobs=1)
    states = np.zeros((2, 6), np.int8)
    workdir = workdirs.write(folder / "run", states, states.astype(np.float32), ids=splits["test"].ids)
    assert predictions_file.load(workdir).ids.tolist() == splits["test"].ids
    config = default_config()
    config.data.name, config.data.dir = "mine", str(folder / "out")
    return SimpleNamespace(workdir=workdir, config=config), [one for split in splits.values() for one in split.ids]


def table(ids):
    return pseudo_labels.Observed(list(ids), ["train"] * len(ids), list(ids), np.zeros((len(ids), 2), np.int8))


def test_images_of_both_other_splits_stay_in_them(tmp_path):
    opened, ids = run(tmp_path)
    known = table(ids)
    found, notes = pseudo_labels.held_out(opened)  # pyright: ignore[reportArgumentType]
    assert notes == [] and pseudo_labels.apart(known, found) == [
        "2 images are of the run's test split; they stay there.",
        "2 images are of the run's validation split; they stay there.",
    ]
    assert known.splits == [name for name, count in SPLITS.items() for _ in range(count)]


def test_where_the_dataset_is_gone_a_line_says_that_one_split_is_not_known(tmp_path):
    opened, ids = run(tmp_path)
    opened.config.data.dir = str(tmp_path / "gone")
    found, (note,) = pseudo_labels.held_out(opened)  # pyright: ignore[reportArgumentType]
    assert set(found) == {"test"} and note.startswith(
        "The images of a validation split, if the run had one, are not kn"
    )
    known = table(ids)
    pseudo_labels.apart(known, found)
    assert known.splits == ["train"] * 5 + ["test"] * 2
