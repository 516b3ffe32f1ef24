"""What training is given of a dataset, and what it is not."""

import dataclasses

import numpy as np
import pytest

from ltpml_jax.data import candidates, source
from ltpml_jax.data.setting import Setting, make_setting
from ltpml_jax.errors import UserError
from tests import runs


def make(**changes) -> Setting:
    return make_setting(runs.config(**changes))


def truth(setting: Setting) -> np.ndarray:
    return setting.dataset.train.labels


def test_training_sees_the_candidates_of_its_rows():
    setting = make(data__validation=0.1)
    table = candidates.draw_candidates(truth(setting), 0.3, 0)
    assert len(setting.train) == 1080 and len(setting.validation) == 120
    assert sorted([*setting.train, *setting.validation]) == list(range(1200))
    np.testing.assert_array_equal(setting.served, table[setting.train])
    np.testing.assert_array_equal(setting.validation_labels, table[setting.validation])
    np.testing.assert_array_equal(setting.lists, setting.served)
    assert setting.digest == candidates.digest(table)
    assert (setting.served != truth(setting)[setting.train]).any()


def test_a_run_with_estimated_priors_hangs_on_candidates_alone(monkeypatch):
    """Two truths with one table of candidates give one setting, but for the dataset itself."""
    one = make(data__validation=0.1)
    table = candidates.draw_candidates(truth(one), 0.3, 0)
    liar = dataclasses.replace(one.dataset.train, labels=table)
    monkeypatch.setattr(source, "load", lambda *_: dataclasses.replace(one.dataset, train=liar))
    monkeypatch.setattr(candidates, "draw_candidates", lambda *_: table)
    other = make(data__validation=0.1)
    for name in set(Setting._fields) - {"dataset", "prior"}:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    for mine, theirs in zip(one.prior, other.prior, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_oracle_priors_know_the_true_counts_and_lists():
    setting = make(method__priors="oracle", data__validation=0.1)
    rows = truth(setting)[setting.train]
    np.testing.assert_array_equal(setting.lists, rows)
    np.testing.assert_allclose(np.asarray(setting.prior.class_count), rows.sum(0))
    assert (setting.served != rows).any()
    assert setting.steps_per_epoch == rows.sum(0).max() * 20 // 4 // 256


def test_clean_labels_are_the_truth():
    setting = make(data__labels="clean", method__priors="oracle", data__validation=0.25)
    np.testing.assert_array_equal(setting.served, truth(setting)[setting.train])


def test_a_shuffled_epoch_has_every_whole_batch():
    assert make(data__sampler="shuffle", data__batch_size=100).steps_per_epoch == 10  # of 1080 images
    assert make(data__sampler="shuffle", data__batch_size=1080).steps_per_epoch == 1


@pytest.mark.parametrize("sampler,size", [("shuffle", 1081), ("class_aware", 10_000)])
def test_a_batch_larger_than_an_epoch_is_refused(sampler, size):
    with pytest.raises(UserError, match=f"config.data.batch_size is {size}, but .* make it smaller"):
        make(data__sampler=sampler, data__batch_size=size)


def test_the_candidates_hang_on_their_own_seed_only():
    digests = [make(seed=seed, data__candidate_seed=drawn).digest for seed, drawn in [(0, 0), (1, 0), (0, 1)]]
    assert digests[0] == digests[1] != digests[2]


def test_a_validation_split_that_leaves_nothing_is_refused():
    with pytest.raises(UserError, match="leaves none of 1200 training images; lower it"):
        make(data__validation=0.9999)
