"""What training is given of a dataset, and what it is not."""

import dataclasses
import math

import numpy as np
import pytest

from ltpml_jax.data import corruption, datasets, manifest
from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.task import Task, make_task, origin, split_fold, split_validation
from ltpml_jax.errors import UserError
from ltpml_jax.methods.label_states import listed
from tests.helpers import runs
from tests.helpers.labels import candidate_sets


def make(**changes) -> Task:
    return make_task(runs.config(**changes))


def truth(task: Task) -> np.ndarray:
    return task.dataset.train.labels


def test_training_sees_the_candidates_of_its_rows():
    task = make(data__validation=0.1)
    table = candidate_sets(truth(task), 0.3, 0)
    assert len(task.train) == 1080 and len(task.validation) == 120
    assert sorted([*task.train, *task.validation]) == list(range(1200))
    np.testing.assert_array_equal(task.served[:], LabelState.CANDIDATE * table[task.train])
    np.testing.assert_array_equal(task.validation_labels, table[task.validation])
    np.testing.assert_array_equal(task.lists[:], task.served[:])
    assert task.digest == manifest.digest(LabelState.CANDIDATE * table)
    assert (task.served[:] != truth(task)[task.train]).any()


def test_a_run_with_estimated_priors_depends_on_candidates_alone(monkeypatch):
    """Two truths with one table of candidates give one task, but for the dataset itself."""
    one = make(data__validation=0.1)
    table = candidate_sets(truth(one), 0.3, 0)
    liar = dataclasses.replace(one.dataset.train, labels=LabelState.CANDIDATE * table)
    monkeypatch.setattr(datasets, "load", lambda *_: dataclasses.replace(one.dataset, train=liar))
    other = make(data__validation=0.1, data__partial_rate=0.0)
    for name in set(Task._fields) - {"dataset", "held_out", "prior"}:
        mine, theirs = getattr(one, name), getattr(other, name)
        if name in ("served", "lists"):
            mine, theirs = mine[:], theirs[:]
        np.testing.assert_array_equal(mine, theirs, err_msg=name)
    for mine, theirs in zip(one.prior, other.prior, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_oracle_priors_know_the_true_counts_and_lists():
    task = make(data__priors="oracle", data__validation=0.1)
    rows = truth(task)[task.train]
    np.testing.assert_array_equal(task.lists[:], rows)
    np.testing.assert_allclose(np.asarray(task.prior.class_count), rows.sum(0))
    assert (task.served[:] != rows).any()
    assert task.steps_per_epoch == rows.sum(0).max() * 20 // 4 // 256


def test_clean_labels_are_the_truth():
    task = make(data__labels="clean", data__priors="oracle", data__validation=0.25)
    np.testing.assert_array_equal(task.served[:], truth(task)[task.train])


def test_a_shuffled_epoch_has_every_whole_batch():
    assert make(data__sampler="shuffle", data__batch_size=100).steps_per_epoch == 10  # of 1080 images
    assert make(data__sampler="shuffle", data__batch_size=1080).steps_per_epoch == 1


@pytest.mark.parametrize("sampler,size", [("shuffle", 1081), ("class_aware", 10_000)])
def test_a_batch_larger_than_an_epoch_is_refused(sampler, size):
    with pytest.raises(UserError, match=f"config.data.batch_size is {size}, but .* make it smaller"):
        make(data__sampler=sampler, data__batch_size=size)


def test_the_candidates_depend_on_their_own_seed_only():
    digests = [make(seed=seed, data__candidate_seed=drawn).digest for seed, drawn in [(0, 0), (1, 0), (0, 1)]]
    assert digests[0] == digests[1] != digests[2]


def test_a_validation_split_that_leaves_nothing_is_refused():
    with pytest.raises(UserError, match="leaves none of 1200 training images; lower it"):
        make(data__validation=0.9999)


def with_splits(monkeypatch, **splits) -> datasets.Dataset:
    """digits_mlt with other labels, by split, as if annotators had left them so."""
    dataset = make().dataset
    changed = {name: dataclasses.replace(dataset.test, labels=labels) for name, labels in splits.items()}
    if "train" in changed:
        changed["train"] = dataclasses.replace(dataset.train, labels=splits["train"])
    other = dataclasses.replace(dataset, **changed)
    monkeypatch.setattr(datasets, "load", lambda *_: other)
    return other


def unsure() -> np.ndarray:
    """Labels of digits_mlt, the first class of every image a candidate and the second unknown."""
    states = make().dataset.train.labels.copy()
    states[:, 0], states[:, 1] = LabelState.CANDIDATE, LabelState.UNKNOWN
    return states


@pytest.mark.parametrize("state", [LabelState.NEGATIVE, LabelState.UNKNOWN])
def test_a_dataset_without_a_label_to_learn_from_is_refused(monkeypatch, state):
    with_splits(monkeypatch, train=np.full_like(unsure(), state))
    with pytest.raises(UserError, match="^No training image of digits_mlt has a positive or candidate label; give"):
        make(data__partial_rate=0.0, data__unknown="unknown", data__validation=0.0)


@pytest.mark.parametrize(("unknown", "state"), [("negative", 0), ("candidate", 2), ("unknown", 3)])
def test_annotators_states_are_served_and_unknown_labels_as_the_config_says(monkeypatch, unknown, state):
    states = with_splits(monkeypatch, train=unsure()).train.labels
    served = make(data__partial_rate=0.0, data__unknown=unknown, data__validation=0.0).served[:]
    assert (served[:, 0] == LabelState.CANDIDATE).all() and (served[:, 1] == state).all()
    np.testing.assert_array_equal(served[:, 2:], states[:, 2:])


def test_a_partial_rate_adds_flips_to_annotators_candidates(monkeypatch):
    with_splits(monkeypatch, train=unsure())
    rates = (0.0, 0.3)
    plain, more = (make(data__partial_rate=rate, data__unknown="unknown").served[:] for rate in rates)
    assert (more[(plain == LabelState.POSITIVE) | (plain == LabelState.CANDIDATE)] == LabelState.CANDIDATE).all()
    for state in (LabelState.NEGATIVE, LabelState.UNKNOWN):
        found = more[plain == state]
        assert set(np.unique(found)) == {state, LabelState.CANDIDATE}
        assert 0.25 < (found == LabelState.CANDIDATE).mean() < 0.35


@pytest.mark.parametrize(
    ("field", "value", "other"), [("data.labels", "clean", "candidates"), ("data.priors", "oracle", "estimated")]
)
def test_true_labels_that_are_unknown_are_refused(monkeypatch, field, value, other):
    with_splits(monkeypatch, train=unsure())
    with pytest.raises(UserError, match=f"config.{field} is '{value}', but digits_mlt does not know .* '{other}'"):
        make(**{field.replace(".", "__"): value})


def test_a_validation_split_of_the_dataset_chooses_best(monkeypatch):
    labels = make().dataset.test.labels.copy()
    labels[3] = LabelState.UNKNOWN
    dataset = with_splits(monkeypatch, validation=labels)
    task = make(data__validation=0.0)
    assert task.held_out is dataset.validation and len(task.train) == 1200
    np.testing.assert_array_equal(task.validation, np.arange(1000))
    np.testing.assert_array_equal(task.validation_labels, np.where(labels == 0, 0, 1))
    with pytest.raises(
        UserError, match="digits_mlt has a validation split of its own; set config.data.validation to 0"
    ):
        make(data__validation=0.1)


def test_split_validation_parts_the_rows():
    train, held = split_validation(101, 0.2, seed=0)
    assert len(held) == 20 and train.dtype == held.dtype == np.int64
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held])), np.arange(101))
    assert (np.diff(train) > 0).all() and (np.diff(held) > 0).all()
    np.testing.assert_array_equal(held, split_validation(101, 0.2, seed=0)[1])
    assert not np.array_equal(held, split_validation(101, 0.2, seed=1)[1])


def test_split_validation_of_nothing_and_of_everything():
    train, held = split_validation(10, 0.0, seed=0)
    assert len(held) == 0
    np.testing.assert_array_equal(train, np.arange(10))
    for fraction in (-0.1, 1.0, math.nan, 0.99):
        with pytest.raises(UserError, match="config.data.validation"):
            split_validation(10, fraction, seed=0)


def test_candidates_of_a_file_take_the_place_of_drawn_ones(tmp_path):
    drawn = make(data__candidate_seed=5)
    table = corruption.partial(truth(drawn), 0.3, 5)
    path = tmp_path / "mine.safetensors"
    manifest.save(path, table, {"kind": "partial"})
    config = runs.config(data__candidates=str(path), data__partial_rate=0.9)
    loaded = make_task(config)
    assert loaded.digest == drawn.digest == manifest.digest(table)
    assert origin(config) == f"candidates of {path}" and origin(runs.config()) == "partial rate 0.3"
    assert origin(runs.config(data__labels="clean")) == "clean labels"  # the rate has no effect then


def test_candidates_of_other_images_are_refused(tmp_path):
    table = corruption.partial(truth(make()), 0.3, 0)[::-1]
    manifest.save(tmp_path / "other.safetensors", table, {"kind": "partial"})
    with pytest.raises(UserError, match="contradict .* labels of digits_mlt"):
        make(data__candidates=str(tmp_path / "other.safetensors"))


@pytest.mark.parametrize("noise", ["tail_biased", "missing", "single"])
def test_labels_are_corrupted_as_the_config_says(noise):
    """The states that `ltpml corrupt` writes, and images left without a label only where they may stay."""
    labels = make().dataset.train.labels
    rates = {"tail_biased": {"data__partial_rate": 0.2}, "missing": {"data__missing_rate": 0.6}, "single": {}}
    want = {
        "tail_biased": lambda: corruption.tail_biased(labels, 0.2, 0),
        "missing": lambda: corruption.missing(labels, 0.6, 0, keep_one=False),
        "single": lambda: corruption.single(labels, 0),
    }[noise]()
    common = {"data__noise": noise, "data__unknown": "unknown", "data__validation": 0.0, "data__partial_rate": 0.0}
    task = make(**common | rates[noise])
    np.testing.assert_array_equal(task.served[:], want)
    np.testing.assert_array_equal(task.lists.candidate_counts(), listed(want).sum(0))
    kept = np.flatnonzero(listed(want).any(1))
    np.testing.assert_array_equal(make(**common | rates[noise], data__drop_empty=True).train, kept)
    assert (len(kept) < len(want)) == (noise == "missing")


def test_no_image_with_a_label_left_is_named():
    changes = {"data__noise": "missing", "data__missing_rate": 0.99999, "data__unknown": "unknown"}
    with pytest.raises(UserError, match="config.data.drop_empty leaves no training image"):
        make(**changes, data__drop_empty=True, data__partial_rate=0.0)


@pytest.mark.parametrize(("images", "folds"), [(101, 3), (5, 5), (1200, 10)])
def test_folds_part_the_images(images, folds):
    held = []
    for number in range(1, folds + 1):
        train, out = split_fold(images, f"{number}/{folds}")
        assert (np.diff(train) > 0).all() and (np.diff(out) > 0).all() and train.dtype == out.dtype == np.int64
        np.testing.assert_array_equal(np.sort(np.concatenate([train, out])), np.arange(images))
        assert images // folds <= len(out) <= -(-images // folds)
        held += out.tolist()
    assert sorted(held) == list(range(images))


def test_folds_are_these_on_every_machine():
    """Written down once; a change would mix folds of runs that began before it."""
    assert split_fold(10, "1/3")[1].tolist() == [0, 2, 9]


def test_a_fold_is_held_out_whatever_the_seeds_are():
    task = make(data__validation=0.0, data__fold="2/4")
    assert len(task.validation) == 300 and len(task.train) == 900 and task.held_out is task.dataset.train
    table = candidate_sets(truth(task), 0.3, 0)
    np.testing.assert_array_equal(task.validation_labels, table[task.validation])
    other = make(data__validation=0.0, data__fold="2/4", data__candidate_seed=1, seed=1)
    np.testing.assert_array_equal(task.validation, other.validation)
    assert not set(task.validation) & set(make(data__validation=0.0, data__fold="3/4").validation)


def test_a_fold_is_held_out_beside_a_validation_split_of_the_dataset(monkeypatch):
    dataset = with_splits(monkeypatch, validation=make().dataset.test.labels)
    task = make(data__validation=0.0, data__fold="1/4")
    assert len(task.train) == 900 and task.held_out is dataset.validation and len(task.validation) == 1000


def test_folds_stay_disjoint_where_images_without_a_label_are_dropped():
    """Each run draws other labels, and so drops other images."""
    changes = {"data__noise": "missing", "data__missing_rate": 0.6, "data__unknown": "unknown", "data__validation": 0.0}
    parts = [
        make(**changes, data__drop_empty=True, data__fold=f"{number}/3", data__candidate_seed=number)
        for number in (1, 2, 3)
    ]
    assert sorted(row for task in parts for row in task.validation.tolist()) == list(range(1200))
    assert all(len(task.train) < 800 and not set(task.train) & set(task.validation) for task in parts)


def test_more_folds_than_images_are_refused():
    with pytest.raises(UserError, match="data.fold is '1/9', but there are only 4 training images; take fewer folds"):
        split_fold(4, "1/9")
