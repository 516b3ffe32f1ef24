"""The class-aware sampler on small tables, and the properties that make a run repeatable."""

import pickle

import numpy as np
import pytest

from ltpml_jax.data import sampler
from ltpml_jax.data.candidates import ClassLists, LabelRows
from ltpml_jax.errors import UserError

# Class 0: rows 0..6, class 1: rows 7..10, class 2: none, class 3: row 11 alone. One label a row, so that
# a row tells for which class it was drawn.
SIZES = {0: 7, 1: 4, 3: 1}
ROW_CLASS = np.repeat([0, 1, 3], [7, 4, 1])
LABELS = np.eye(4, dtype=np.int8)[ROW_CLASS]


def lists(labels: np.ndarray) -> ClassLists:
    return ClassLists.of(LabelRows(labels, np.arange(len(labels)), "negative"))


LISTS = lists(LABELS)


def test_epoch_length_of_the_published_sets():
    voc = np.array([775] + [4] * 19)
    coco = np.array([1128] + [6] * 79)
    assert sampler.class_aware_epoch_length(voc) == 3875
    assert sampler.class_aware_epoch_length(coco) == 22560
    assert sampler.steps_per_epoch(voc, 32) == 121


def test_epoch_length_is_floored_for_estimated_counts():
    assert sampler.class_aware_epoch_length(np.array([10.7, 2.2, 1.0])) == 8  # 10.7 * 3 / 4 = 8.025
    assert sampler.steps_per_epoch(np.array([10.7, 2.2, 1.0]), 8) == 1


def test_an_epoch_below_one_batch_is_a_user_error():
    with pytest.raises(UserError, match="batch_size is 9.*8 samples"):
        sampler.steps_per_epoch(np.array([10.7, 2.2, 1.0]), 9)


@pytest.mark.parametrize("seed", range(5))
def test_classes_come_in_rounds_that_are_permutations_of_those_with_images(seed):
    triples = sampler.class_aware_order(LISTS, 9 * 20, seed, epoch=2).reshape(-1, 3)
    drawn = ROW_CLASS[triples]
    assert (drawn == drawn[:, :1]).all()  # the three items of a draw have its class
    for classes in drawn[:, 0].reshape(-1, 3):
        assert sorted(classes) == [0, 1, 3]
    assert len({tuple(classes) for classes in drawn[:, 0].reshape(-1, 3)}) > 1


@pytest.mark.parametrize("seed", range(5))
def test_each_class_walks_its_own_list_and_shuffles_it_anew_when_it_is_used_up(seed):
    order = sampler.class_aware_order(LISTS, 9 * 20, seed, epoch=0)
    for j, size in SIZES.items():
        walked = order[ROW_CLASS[order] == j]
        assert len(walked) == 60
        passes = walked[: 60 // size * size].reshape(-1, size)
        expected = np.broadcast_to(np.flatnonzero(LABELS[:, j]), passes.shape)
        np.testing.assert_array_equal(np.sort(passes, axis=1), expected)
        if size > 1:
            assert len({tuple(rows) for rows in passes}) > 1


def test_multi_hot_rows_serve_each_of_their_classes():
    labels = np.array([[1, 1], [1, 0]], np.int8)  # class 0: rows 0 and 1, class 1: row 0 alone
    order = sampler.class_aware_order(lists(labels), 12, seed=0, epoch=0)
    # a draw of class 1 is 0,0,0; of class 0 it is 0,1 and 1,0 cut to three, which has a row 1 in it
    kinds = [tuple(triple) == (0, 0, 0) for triple in order.reshape(-1, 3)]
    assert sorted(kinds[:2]) == sorted(kinds[2:]) == [False, True]


def test_the_last_draw_is_cut_and_longer_orders_start_with_shorter_ones():
    long = sampler.class_aware_order(LISTS, 100, seed=3, epoch=1)
    for length in (1, 2, 10, 47):
        np.testing.assert_array_equal(sampler.class_aware_order(LISTS, length, seed=3, epoch=1), long[:length])


def test_a_table_without_labels_is_a_user_error():
    with pytest.raises(UserError, match="no class has an image"):
        sampler.class_aware_order(lists(np.zeros((4, 3), np.int8)), 6, seed=0, epoch=0)


def test_shuffled_order_is_a_permutation_that_changes_with_seed_and_epoch():
    orders = {(s, e): sampler.shuffled_order(30, s, e) for s in (0, 1) for e in (0, 1)}
    for order in orders.values():
        np.testing.assert_array_equal(np.sort(order), np.arange(30))
    assert len({tuple(order) for order in orders.values()}) == 4


def test_orders_are_pinned():
    assert sampler.shuffled_order(8, 0, 0).tolist() == [0, 3, 7, 5, 1, 2, 6, 4]
    assert sampler.class_aware_order(LISTS, 12, 0, 0).tolist() == [11, 11, 11, 8, 10, 7, 4, 3, 6, 5, 2, 0]


@pytest.mark.parametrize("kind", sampler.KINDS)
def test_epoch_orders_are_the_same_however_they_are_read(kind):
    def fresh() -> sampler.EpochOrders:
        return sampler.EpochOrders(kind, LISTS, length=10, epochs=4, seed=7)

    ahead = fresh()
    forwards = [ahead[p] for p in range(len(ahead))]
    assert len(forwards) == 40
    jumping, scattered = fresh(), np.random.default_rng(0).permutation(40)
    assert [jumping[int(p)] for p in scattered] == [forwards[p] for p in scattered]
    sent = pickle.loads(pickle.dumps(ahead))
    assert [sent[p] for p in range(40)] == forwards
    if kind == "class_aware":
        expected = [sampler.class_aware_order(LISTS, 10, 7, e) for e in range(4)]
    else:
        expected = [sampler.shuffled_order(12, 7, e)[:10] for e in range(4)]
    assert forwards == np.concatenate(expected).tolist()
    assert len({tuple(order) for order in expected}) == 4


def test_epoch_orders_compute_an_epoch_once_and_keep_two(monkeypatch):
    asked = []
    original = sampler.shuffled_order
    monkeypatch.setattr(sampler, "shuffled_order", lambda n, s, e: asked.append(e) or original(n, s, e))
    orders = sampler.EpochOrders("shuffle", LISTS, length=12, epochs=5, seed=0)
    assert asked == []
    _ = [orders[p] for p in (*range(24), 0, 23, 24, 12, 0)]
    assert asked == [0, 1, 2, 0]  # 0 and 1 are kept until 2 comes; then 1 is still there and 0 is not


def test_epoch_orders_refuse_what_is_not_there():
    orders = sampler.EpochOrders("shuffle", LISTS, length=12, epochs=1, seed=0)
    for position in (-1, 12):
        with pytest.raises(IndexError):
            orders[position]
    with pytest.raises(UserError, match="no sampler 'random'.*class_aware, shuffle"):
        sampler.EpochOrders("random", LISTS, length=12, epochs=1, seed=0)
    with pytest.raises(UserError, match="12 images"):
        sampler.EpochOrders("shuffle", LISTS, length=13, epochs=1, seed=0)
