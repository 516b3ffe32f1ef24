from pathlib import Path

import numpy as np
import pytest

from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.readers import reference_cache
from ltpml_jax.errors import UserError

APPENDIX = Path(__file__).parents[4] / "shared/reference/appendix"
TABLE = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 1]])
STATES = TABLE * LabelState.CANDIDATE


def saved(path: Path, value: object) -> Path:
    np.save(path, np.array(value, object))
    return path


@pytest.mark.parametrize("dtype", [bool, np.int64, np.float32, np.float64])
def test_the_reference_caches_are_read_in_all_their_types(tmp_path, dtype):
    for table in (TABLE.astype(dtype), TABLE[:, None].astype(dtype)):
        path = saved(tmp_path / "some.npy", {"partial_labels": table, "rate": 0.3})
        assert (reference_cache.read_table(path) == STATES).all()
    path = saved(tmp_path / "some.npy", {"partial_labels": list(TABLE[:, None])})
    assert (reference_cache.read_table(path) == STATES).all()
    assert reference_cache.read_table(path).dtype == np.int8


@pytest.mark.parametrize(
    "value",
    [TABLE, {"labels": TABLE}, [TABLE], None],
)
def test_other_contents_are_named(tmp_path, value):
    path = saved(tmp_path / "some.npy", value)
    with pytest.raises(UserError, match=r"some\.npy holds no dict with 'partial_labels'; "):
        reference_cache.read_table(path)


@pytest.mark.parametrize(
    "value", [TABLE * 2, TABLE * 0.5, TABLE[0], TABLE[:, None, None], "abc", [[1], [1, 0]], TABLE * np.nan]
)
def test_other_tables_are_named(tmp_path, value):
    path = saved(tmp_path / "some.npy", {"partial_labels": value})
    with pytest.raises(UserError, match=r"it must be 0s and 1s of shape \[N, 1, C\]"):
        reference_cache.read_table(path)


def test_rows_are_put_in_the_order_of_a_dataset(tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_bytes(b"\xef\xbb\xbftrain2017/b.jpg 1 2 \r\n\r\n./c.png\r\nval/a.jpg 0")
    assert (reference_cache.reorder(TABLE, listed, ["a", "x/b.jpg", "c.jpeg"]) == TABLE[[2, 0, 1]]).all()
    assert (reference_cache.reorder(TABLE, listed, ["c"]) == TABLE[[1]]).all()


def test_lists_that_do_not_fit_are_named(tmp_path):
    listed = tmp_path / "list.txt"
    wrong = {"a.jpg\nb.jpg": "names 2 images, the candidate sets have 3 rows", "a.jpg\nb.jpg\na.png": "names 'a' twice"}
    for text, sentence in (wrong | {"a.jpg\nb.jpg\nd.jpg": "lacks 1 images of the dataset, first 'c'"}).items():
        listed.write_text(text)
        with pytest.raises(UserError, match=f"list.txt {sentence}.*; "):
            reference_cache.reorder(TABLE, listed, ["a", "b", "c"])
    listed.write_bytes(b"\xff\xfe\x00")
    for path in (listed, tmp_path / "none.txt", tmp_path, "/dev/zero"):
        with pytest.raises(UserError, match=r"The list .* cannot be read .*; give the path of a text file"):
            reference_cache.reorder(TABLE, path, ["a"])


@pytest.mark.skipif(not APPENDIX.exists(), reason="the published lists are not here")
@pytest.mark.parametrize("name", ["voc/voc_lt_train.txt", "coco/coco_lt_train.txt"])
def test_the_published_lists_give_an_order(name):
    path = APPENDIX / name
    ids = [Path(line.split()[0]).stem for line in path.read_text().splitlines() if line.strip()]
    rows = np.arange(len(ids))[:, None]
    assert (reference_cache.reorder(rows, path, ids[::-1]) == rows[::-1]).all()
