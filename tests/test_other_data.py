"""Data and labels that benchmarks make: candidates that look alike, twice the classes, labels that a run adds."""

import itertools
import types

import numpy as np
import pytest

import ltpml_jax
from benchmarks import more_classes, other_data, pseudo_label, table
from ltpml_jax.config import validate
from ltpml_jax.data import datasets, digits_mlt, manifest, task
from tests.helpers import runs


def test_candidates_that_look_alike_are_partners_of_positives():
    names = ("0_warm", "0_cool", "1_warm", "1_cool")
    partner = other_data.partners(names)
    assert partner.tolist() == [1, 0, 3, 2]
    labels = np.zeros((4000, 4), np.int8)
    labels[:, 0] = 1
    labels[::2, 3] = 1
    made = other_data.alike(labels, partner, 0.8, 0)
    np.testing.assert_array_equal(made[:, [0, 3]], 2 * labels[:, [0, 3]])
    assert (made[:, 1] == 2).mean() == pytest.approx(0.8, abs=0.03)
    assert not made[1::2, 2].any() and (made[::2, 2] == 2).mean() == pytest.approx(0.8, abs=0.03)
    assert not other_data.alike(labels, partner, 0.0, 0)[:, 1].any()


@pytest.mark.parametrize("method", other_data.RATES)
def test_other_data_has_the_tables_choices(method):
    config = other_data.config_of(method, other_data.Data("few", 0.05), 3)
    validate(config)
    assert config.data.partial_rate == 0.05 and config.seed == config.data.candidate_seed == 3
    assert config.optim.learning_rate == other_data.RATES[method] and config.train.epochs == table.EPOCHS


def test_colour_families_stay_apart_when_hues_are_jittered():
    jitter = other_data.config_of("bce", other_data.Data("more", 0.3), 0).jitter.hue
    around = sorted(more_classes.FAMILIES.values())
    gaps = [(after[0] - before[1]) % 360 for before, after in itertools.pairwise([*around, around[0]])]
    assert min(gaps) > 2 * jitter > 0


@pytest.mark.processes
def test_more_classes_are_a_dataset_with_their_counts(tmp_path, monkeypatch):
    plan = digits_mlt.SplitPlan("train", 60, 6, 1, more_classes.SHARES, 5)
    monkeypatch.setattr(more_classes, "PLANS", {"train": plan, "test": plan._replace(part="test", images=50, stream=6)})
    config = other_data.config_of("noise_model", other_data.Data("more", 0.3), 0)
    config = other_data.prepared(config, other_data.Data("more", 0.3), tmp_path)
    validate(config)
    found = datasets.load(config.data.name, config.data.dir)
    assert len(found.class_names) == 40 and (len(found.train.labels), len(found.test.labels)) == (60, 50)
    assert sorted(found.train.labels.sum(0))[::39] == [1, 6] and found.train.labels.sum(1).min() > 0
    written = (tmp_path / "data" / "labels.csv").stat().st_mtime_ns
    assert other_data.prepared(config, other_data.Data("more", 0.3), tmp_path).data.dir == str(tmp_path / "data")
    assert (tmp_path / "data" / "labels.csv").stat().st_mtime_ns == written  # it is not drawn again


def test_what_a_run_adds_is_a_candidate_and_the_rest_as_it_was(tmp_path, monkeypatch):
    config, path = pseudo_label.config_of(3), tmp_path / "added.safetensors"
    assert config.optim.learning_rate == pseudo_label.RATE and config.train.epochs == table.EPOCHS
    config.data.dir = str(runs.data_dir())
    dataset = datasets.load(config.data.name, config.data.dir)
    truth = np.asarray(dataset.train.labels)
    observed = task.candidate_sets(config, dataset)[np.arange(len(truth))]
    surely = truth.copy()
    surely[0] = 1  # a mistake in the first image
    run = types.SimpleNamespace(predict=lambda images: (2.0 * surely - 1) * 9 * (len([*images]) == len(truth)))
    monkeypatch.setattr(ltpml_jax, "open_run", lambda workdir: run)
    found = pseudo_label.fill(config, tmp_path, 0.7, path)
    states = manifest.load(path).table
    new = (surely == 1) & (observed != 1)
    np.testing.assert_array_equal(states, np.where(new, 2, observed))
    assert found.count == new.sum() / len(truth) and found.true == pytest.approx(100 * truth[new].mean())
    assert 90 < found.true < 100
