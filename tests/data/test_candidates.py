"""Label tables made a few rows at a time are those that are made at once."""

import math
import pickle

import numpy as np
import pytest

from ltpml_jax.data import candidates, labels, manifest, streams
from ltpml_jax.data.candidates import ClassLists, LabelRows, draw_candidates
from ltpml_jax.data.labels import LabelState
from ltpml_jax.errors import UserError
from tests.helpers.labels import candidate_sets

N, C = 203, 7
STATES = np.random.default_rng(0).integers(0, 4, (N, C)).astype(np.int8)


@pytest.fixture(params=[1, 60, 2**22])
def entries(request, monkeypatch):
    """Blocks of different sizes."""
    monkeypatch.setattr(labels, "_ENTRIES", request.param)


def whole(unknown: str = "candidate", rate: float = 0.3) -> np.ndarray:
    """The states that the rule gives, written entry by entry."""
    flips = streams.uniform((N, C), 5, streams.Purpose.CANDIDATES) < rate
    table = STATES.copy()
    for place, state in np.ndenumerate(STATES):
        if rate and (state in (LabelState.POSITIVE, LabelState.CANDIDATE) or flips[place]):
            table[place] = LabelState.CANDIDATE
        elif state == LabelState.UNKNOWN:
            table[place] = {"candidate": 2, "negative": 0, "unknown": 3}[unknown]
    return table


@pytest.mark.parametrize("unknown", ["candidate", "negative", "unknown"])
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
    np.testing.assert_array_equal(part.candidate_counts(), (table != 0).sum(0))
    assert part.empty_count() == (table == 0).all(1).sum()
    np.testing.assert_array_equal(part.state_counts(), [(table == state).sum(0) for state in range(4)])
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
    rows = LabelRows(mapped, np.array([5, 900]), "unknown", 0.3, 5)
    sent = pickle.dumps(rows)
    assert len(sent) < 2000
    back = pickle.loads(sent)
    assert isinstance(back.states, np.memmap)
    np.testing.assert_array_equal(back[:], rows[:])
    again = pickle.loads(pickle.dumps(LabelRows(mapped[3:9], np.arange(6), "unknown")))  # a part of it, by value
    np.testing.assert_array_equal(again[:], mapped[3:9])


@pytest.mark.parametrize("rows", [[0], [3, 1, 2], [0, 40, 5], []])
def test_rows_of_a_stream_are_those_of_the_whole(rows):
    table = streams.uniform((41, 5), 9, streams.Purpose.CANDIDATES)
    got = streams.uniform_rows(np.array(rows, np.int64), 5, 9, streams.Purpose.CANDIDATES)
    np.testing.assert_array_equal(got, table[np.array(rows, np.int64)])


def scattered(n: int = 50, c: int = 7) -> np.ndarray:
    rows, columns = np.indices((n, c))
    return ((rows * 3 + columns * 5) % 7 == 0).astype(np.int8)


def test_every_true_label_is_a_candidate_and_the_input_stays():
    labels = scattered()
    before = labels.copy()
    table = candidate_sets(labels, 0.3, seed=1)
    assert table.dtype == np.int8 and set(np.unique(table)) == {0, 1}
    assert (table[labels == 1] == 1).all()
    np.testing.assert_array_equal(labels, before)
    assert table is not labels


def test_partial_rate_zero_gives_thescattered():
    np.testing.assert_array_equal(candidate_sets(scattered(), 0.0, seed=3), scattered())


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.5])
def test_negatives_flip_at_the_partial_rate(rate):
    labels = scattered(500, 20)
    negatives = (labels == 0).sum()
    drawn = np.stack([candidate_sets(labels, rate, seed) for seed in range(10)])
    flips = (drawn - labels).sum()
    standard_error = math.sqrt(10 * negatives * rate * (1 - rate))
    assert abs(flips - 10 * negatives * rate) < 4 * standard_error


def test_flips_are_independent_between_neighbouring_classes_and_samples():
    table = candidate_sets(np.zeros((20000, 2), np.int8), 0.3, seed=0).astype(float)
    standard_error = 1 / math.sqrt(20000)
    assert abs(np.corrcoef(table[:, 0], table[:, 1])[0, 1]) < 4 * standard_error
    assert abs(np.corrcoef(table[:-1, 0], table[1:, 0])[0, 1]) < 4 * standard_error


def test_the_draw_is_pinned():
    table = candidate_sets(scattered(), 0.3, seed=42)
    assert manifest.digest(table) == "368bb37a99a0aba373e376530534cc1b6ca4e95ad14afb3b572560d7bdb45e86"
    assert manifest.digest(candidate_sets(scattered(), 0.3, seed=43)) != manifest.digest(table)


def test_a_higher_rate_only_adds_candidates():
    low, high = (candidate_sets(scattered(), rate, seed=5) for rate in (0.1, 0.4))
    assert (high >= low).all() and high.sum() > low.sum()


@pytest.mark.parametrize("bad", [-0.1, 1.0, 2.0, float("nan"), float("inf")])
def test_rates_out_of_range_are_refused(bad):
    with pytest.raises(UserError, match=f"the partial rate is {bad}; set it to at least 0 and below 1"):
        draw_candidates(STATES, np.arange(N), bad, 0)


def test_a_digest_depends_on_entries_and_shape_but_not_on_dtype_or_layout():
    table = scattered()
    assert manifest.digest(table) == manifest.digest(np.asfortranarray(table.astype(np.int64)))
    assert manifest.digest(table) != manifest.digest(table.reshape(7, 50))
    changed = table.copy()
    changed[3, 2] ^= 1
    assert manifest.digest(table) != manifest.digest(changed)


def test_a_row_is_drawn_once(monkeypatch):
    """By all that a start and the loader ask of a table and its parts; in another process once more."""
    asked: list[int] = []

    def counting(rows, *arguments):
        asked.extend(rows.tolist())
        return streams.uniform_rows(rows, *arguments)

    monkeypatch.setattr(candidates, "uniform_rows", counting)
    table = LabelRows(STATES, np.arange(N), "unknown", 0.3, 5)
    part, want = table.of(np.arange(0, N, 2)), whole("unknown")
    table.digest(), part.candidate_counts(), ClassLists.of(part), table.state_counts()
    np.testing.assert_array_equal(part.stretch(0, len(part)), want[::2])
    np.testing.assert_array_equal(part[np.array([3, 3, 0])], want[[6, 6, 0]])
    assert sorted(asked) == list(range(N))
    asked.clear()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(part))[:4], want[:8:2])
    assert asked == [0, 2, 4, 6]
