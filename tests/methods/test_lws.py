"""LWS on a run that was trained before: what trains, what cannot change, and what is refused."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ltpml_jax import open_run, train, trainer
from ltpml_jax.config import build_method, default_config, validate
from ltpml_jax.errors import UserError
from ltpml_jax.experiment import build_network
from ltpml_jax.methods import lws
from ltpml_jax.methods.priors import Prior
from ltpml_jax.models import classifier
from tests.helpers import runs, session, tiny

SECOND = {"method__name": "lws", "train__epochs": 1, "optim__learning_rate": 0.2, "data__sampler": "shuffle"}


def network(seed: int = 0) -> lws.ScaledClassifier:
    spec = classifier.ModelSpec("resnet_small", 8, 0.5, 0, "stored", "float32", True, True)
    return lws.ScaledClassifier(classifier.build(spec, 3, seed), 3)


@pytest.mark.usefixtures("least_optimised", "numpy_weights")
def test_only_the_scales_train_and_the_rest_is_in_evaluation_mode():
    """No dropout, no new statistics, and the frozen classifier's own logits, a factor a class."""
    parts = classifier.split(network(), 0)
    assert [np.shape(leaf) for leaf in jax.tree.leaves(parts.trainable)] == [(3,)]
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 16, 3)), jnp.float32)
    plain = nnx.jit(lambda frozen, x: frozen(x, train=False, mask=None, dropout_key=None))(network().frozen, images)
    scales = jnp.array([1.0, 2.0, -3.0])
    chosen = jax.tree.map(lambda leaf: scales, parts.trainable)
    forward = classifier.make_forward(parts.graphdef)
    training = functools.partial(forward, train=True, mask=None, dropout_key=jax.random.key(0))
    got, rest = jax.jit(training)(chosen, parts.rest, images)
    np.testing.assert_allclose(got, plain * scales[None], rtol=1e-5, atol=1e-7)
    jax.tree.map(np.testing.assert_array_equal, nnx.to_pure_dict(rest), nnx.to_pure_dict(parts.rest))


@pytest.mark.processes
def test_a_second_stage_keeps_the_first_ones_ranking(tmp_path: Path):
    """Its network gives the first stage's logits, scaled; positive scales leave every mAP as it was."""
    first = runs.finished()
    train(runs.config(**SECOND, train__devices=1, model__start_from=str(first)), tmp_path)
    stages = [open_run(workdir) for workdir in (first, tmp_path)]
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    before, after = (stage.predict(images) for stage in stages)
    (scales,) = jax.tree.leaves(stages[1].state.params)
    np.testing.assert_allclose(after, before * np.asarray(scales)[None], rtol=1e-3, atol=1e-4)
    assert (scales > 0).all() and (scales != 1).all()
    tables = [json.loads((workdir / "results.json").read_text())["test"] for workdir in (first, tmp_path)]
    one, other = tables[0]["last (epoch 2)"], tables[1]["last (epoch 1)"]
    assert one["mAP_total"] == pytest.approx(other["mAP_total"], abs=0.05)


def refused(**changes: object) -> str:
    config = runs.config(**SECOND | changes)
    with pytest.raises(UserError) as caught:
        train(config, session.scratch() / "never")
    assert not (session.scratch() / "never" / "config.json").exists()
    return str(caught.value)


def test_a_run_that_is_not_there_is_named_before_data_and_network_are_made(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(trainer, "build_experiment", None)
    assert f"There is no run in {tmp_path}" in refused(model__start_from=str(tmp_path))


@pytest.mark.processes
def test_what_it_cannot_start_from_is_named():
    first = str(runs.finished())
    assert "is another one than config.model" in refused(model__start_from=first, model__neck_width=7)
    assert "the network of config.method.name=comic has no classifier" in refused(
        model__start_from=first, method__name="comic"
    )
    config = default_config()
    config.method.name = "lws"
    with pytest.raises(UserError, match="'lws'; name the run it works on in config.model.start_from"):
        validate(config)


@pytest.mark.processes
def test_any_method_may_start_from_a_run(tmp_path: Path):
    """With a rate of almost nothing, the first stage's network is what is evaluated."""
    first = runs.eight_devices()
    changes = {"method__name": "bce", "train__epochs": 1, "optim__learning_rate": 1e-12}
    runs.tiny_run(tmp_path, **changes, train__devices=1, model__start_from=str(first))
    with tiny.everywhere():
        weights = [open_run(workdir).state.params for workdir in (first, tmp_path)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), *weights)


@pytest.mark.processes
@pytest.mark.usefixtures("least_optimised")
def test_a_branch_that_does_not_train_keeps_the_backbone_of_the_config():
    """And the classifier beside it has the run's."""
    prior = Prior(np.full(20, 50.0), np.array(1200.0), state_count=np.full((4, 20), 300.0))
    found = []
    for first in (str(runs.finished()), ""):
        config = runs.config(method__name="noise_model", model__start_from=first)
        method = build_method(config)
        assert method is not None
        parts = build_network(config, method, 20, prior)
        found.append(
            {path: leaf[...] for path, leaf in nnx.to_flat_state(nnx.merge_state(parts.trainable, parts.rest))}
        )
    same = {path for path, leaf in found[0].items() if np.array_equal(leaf, found[1][path])}
    fixed = {path for path in found[0] if "frozen" in path}
    assert fixed <= same and any("conv1" in path for path in fixed)
    assert any("conv1" in path for path in found[0].keys() - same)


@pytest.mark.processes
def test_two_processes_start_from_the_same_run(tmp_path: Path):
    """On a network that compiles quickly."""
    first = runs.eight_devices()
    command = runs.tiny_command(tmp_path, **SECOND, model__start_from=str(first))
    ended = runs.wait_all(runs.start_all(command, processes=2))
    assert [done.returncode for done in ended] == [0, 0], [done.stderr[-2000:] for done in ended]
    tables = [json.loads((workdir / "results.json").read_text())["test"] for workdir in (first, tmp_path)]
    one, other = tables[0]["last (epoch 2)"], tables[1]["last (epoch 1)"]
    assert one["mAP_total"] == pytest.approx(other["mAP_total"], abs=0.05)
