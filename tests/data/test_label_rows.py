"""Label tables made a few rows at a time are those that are made at once."""

import pickle

import numpy as np
import pytest

from ltpml_jax.data import corruption, labels, manifest, streams
from ltpml_jax.data.label_rows import ClassLists, LabelRows

N, C = 203, 7
STATES = np.random.default_rng(0).integers(0, 4, (N, C)).astype(np.int8)


@pytest.fixture(params=[1, 60, 2**22])
def entries(request, monkeypatch):
    """Blocks of different sizes."""
    monkeypatch.setattr(labels, "_ENTRIES", request.param)


def whole(unknown: str = "candidate", rate: float = 0.3) -> np.ndarray:
    return corruption.draw_candidates(labels.may_be_there(STATES, unknown), rate, 5)


@pytest.mark.parametrize("unknown", ["candidate", "negative"])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_any_rows_are_those_of_the_whole_table(unknown, rate):
    table, rows = whole(unknown, rate), LabelRows(STATES, np.arange(N), unknown, rate, 5)
    assert rows.shape == (N, C) and len(rows) == N
    for index in (slice(None), slice(3, 9), np.array([7]), np.array([200, 1, 1, 90]), np.arange(0)):
        got = rows[index]
        assert got.dtype == np.int8
        np.testing.assert_array_equal(got, table[index])


def test_a_selection_keeps_the_draws_of_its_images(entries):
    chosen = np.array([3, 50, 51, 202])
    part, table = LabelRows(STATES, np.arange(N), "candidate", 0.3, 5).of(chosen), whole()[chosen]
    np.testing.assert_array_equal(part[:], table)
    np.testing.assert_array_equal(part.sums(), table.sum(0))
    np.testing.assert_array_equal(part.stretch(1, 7), np.pad(table[1:], ((0, 3), (0, 0))))
    assert not part.stretch(5, 9).any()
    assert part.digest() == manifest.digest(table)


def test_blocks_follow_one_another(entries):
    rows = LabelRows(STATES, np.arange(N), "candidate", 0.3, 5)
    starts, blocks = zip(*rows.blocks(), strict=True)
    assert all(start % 8 == 0 for start in starts)
    np.testing.assert_array_equal(np.concatenate(blocks), whole())


def test_class_lists_are_the_columns(entries):
    table = whole()
    lists = ClassLists.of(LabelRows(STATES, np.arange(N), "candidate", 0.3, 5))
    assert len(lists) == C and lists.size == N
    for j in range(C):
        np.testing.assert_array_equal(lists[j], np.flatnonzero(table[:, j]))


def test_a_mapped_table_travels_by_name(tmp_path):
    """Worker processes open the file themselves."""
    np.save(tmp_path / "labels.npy", np.tile(STATES, (50, 1)))
    mapped = np.load(tmp_path / "labels.npy", mmap_mode="r")
    rows = LabelRows(mapped, np.array([5, 900]), "candidate", 0.3, 5)
    sent = pickle.dumps(rows)
    assert len(sent) < 2000
    back = pickle.loads(sent)
    assert isinstance(back.states, np.memmap)
    np.testing.assert_array_equal(back[:], rows[:])
    again = pickle.loads(pickle.dumps(LabelRows(mapped[3:9], np.arange(6), "candidate")))  # a part of it, by value
    np.testing.assert_array_equal(again[:], labels.may_be_there(mapped[3:9], "candidate"))


@pytest.mark.parametrize("rows", [[0], [3, 1, 2], [0, 40, 5], []])
def test_rows_of_a_stream_are_those_of_the_whole(rows):
    table = streams.uniform((41, 5), 9, streams.Purpose.CANDIDATES)
    got = streams.uniform_rows(np.array(rows, np.int64), 5, 9, streams.Purpose.CANDIDATES)
    np.testing.assert_array_equal(got, table[np.array(rows, np.int64)])
