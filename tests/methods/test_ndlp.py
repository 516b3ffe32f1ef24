"""NDLP as a method, one step at a time on a linear network; the numbers of whole runs are in test_replay."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ltpml_jax import state, step
from ltpml_jax.methods import losses, ndlp, priors
from ltpml_jax.methods.base import Method, Plan
from ltpml_jax.methods.ndlp import NDLPParts, NDLPSettings

pytestmark = pytest.mark.usefixtures("least_optimised")

N, C, B, FEATURES, STEPS, EPOCHS = 48, 6, 12, 5, 4, 3
DB = losses.DBSettings(0.05, 2.0, 0.1, 10.0, 0.2)
SETTINGS = NDLPSettings(gamma=2.0)
OPTIMIZER = optax.sgd(0.1, 0.9)
# Beta sampling takes longer to compile than all the rest of this tiny step.
PARTS = NDLPParts(mixup_weight=lambda key, _: jax.random.uniform(key, minval=0.5))


@functools.cache
def make(settings: NDLPSettings = SETTINGS, parts: NDLPParts = NDLPParts()) -> Method:
    """NDLP for runs of EPOCHS epochs."""
    return ndlp.ndlp(settings, DB, Plan(EPOCHS, B), parts)


@functools.cache
def data() -> tuple[np.ndarray, np.ndarray, priors.Prior]:
    """Features float32 [N, FEATURES], candidates int8 [N, C], and the oracle prior."""
    rng = np.random.default_rng(0)
    labels = (rng.random((N, C)) < np.geomspace(0.6, 0.08, C)).astype(np.int8)
    labels[np.arange(N), rng.integers(0, C, N)] = 1
    candidates = np.maximum(labels, rng.random((N, C)) < 0.3).astype(np.int8)
    return (
        rng.normal(size=(N, FEATURES)).astype(np.float32),
        candidates,
        priors.oracle_prior(labels.sum(0), len(labels)),
    )


def batch(number: int) -> dict[str, Any]:
    """Batch of a step; duplicates occur."""
    features, candidates, _ = data()
    index = np.random.default_rng(number).integers(0, N, B, dtype=np.int32)
    return {"image": features[index], "index": index, "states": candidates[index]}


def forward(params, rest, images, *, train, mask, dropout_key):
    """Linear, with dropout and a running statistic of the rows inside the mask."""
    keep = jax.random.bernoulli(dropout_key, 0.9, images.shape)
    mask = jnp.ones(len(images), bool) if mask is None else mask
    mean = jnp.where(mask[:, None], images, 0).sum(0) / jnp.maximum(mask.sum(), 1)
    return jnp.where(keep, images, 0) @ params["W"] + params["b"][None], {"mean": 0.9 * rest["mean"] + 0.1 * mean}


def pad(table: np.ndarray) -> np.ndarray:
    return np.pad(table, ((0, state.padded(len(table)) - len(table)), (0, 0)))


@functools.cache
def fresh() -> state.TrainState:
    """A state of NumPy arrays before the first step."""
    _, candidates, prior = data()
    weights = (0.3 * np.cos(np.arange(FEATURES * C))).astype(np.float32).reshape(FEATURES, C)
    params, rest = {"W": weights, "b": np.zeros(C, np.float32)}, {"mean": np.zeros(FEATURES, np.float32)}
    begin = jax.jit(lambda *arrays: state.init_state(*arrays[:2], OPTIMIZER, make(), *arrays[2:], seed=0))
    return jax.device_get(begin(params, rest, pad(candidates), prior))


def start(epoch: int = 0) -> state.TrainState:
    """A state at the beginning of `epoch` as if its step before belonged to it, with a class distribution."""
    at, distribution = fresh(), np.arange(1, C + 1, dtype=np.float32) / (C * (C + 1) / 2)
    shared = at.shared._replace(distribution=distribution, last_epoch=np.int32(epoch))
    return at._replace(step=np.int32(epoch * STEPS), shared=shared)


@functools.cache
def compiled(settings: NDLPSettings, parts: NDLPParts, epoch: int | None = None) -> step.Step:
    """A step of a variant of the method, on one device."""
    recipe = step.Recipe(forward, OPTIMIZER, lambda key, images: images, STEPS)
    stages = step.make_stages(make(settings, parts), recipe, epoch)
    return jax.jit(
        lambda at, batch: stages.finish(at, batch, stages.first(at, batch)),
        compiler_options={"xla_backend_optimization_level": 0},
    )


def advance(at: state.TrainState, parts: NDLPParts = PARTS, **switches: bool) -> tuple[state.TrainState, step.Metrics]:
    """One step on batch 0 with these ablation switches and replaced functions; NumPy arrays."""
    return jax.device_get(compiled(SETTINGS._replace(**switches), parts)(at, batch(0)))


@functools.cache
def reference() -> tuple[state.TrainState, state.TrainState, step.Metrics]:
    """A state of epoch 1, and what one step of the whole method makes of it."""
    before = start(epoch=1)
    return before, *advance(before)


def equal(left, right) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, left, right)))


def differences(after: state.TrainState, metrics: step.Metrics) -> set[str]:
    """What a variant of the method changed in one step, against the whole method."""
    _, want, want_metrics = reference()
    changed = {name for name in ("params", "rest") if not equal(getattr(after, name), getattr(want, name))}
    changed |= set() if equal(after.rows, want.rows) else {"confidence"}
    for name in ("column_sum", "candidate_count", "distribution"):
        if not equal(getattr(after.shared, name), getattr(want.shared, name)):
            changed.add(name)
    return changed | {n for n in want_metrics if n not in metrics or not equal(metrics[n], want_metrics[n])}


def test_the_whole_method_moves_everything():
    before, after, metrics = reference()
    assert 0 < int(metrics["reliable"].sum()) < B and float(metrics["loss_pass2"]) > 0
    for name in ("column_sum", "distribution"):
        assert not equal(getattr(before.shared, name), getattr(after.shared, name)), name
    assert not equal(before.rows, after.rows)
    assert not equal(before.params, after.params) and not equal(before.rest, after.rest)
    touched = np.unique(batch(0)["index"])
    others = np.setdiff1d(np.arange(256), touched)
    np.testing.assert_array_equal(after.rows[others], before.rows[others])
    np.testing.assert_allclose(after.shared.column_sum.value, np.asarray(after.rows).sum(0), rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"], metrics["loss_pass1"] + metrics["loss_pass2"], rtol=1e-6)


@pytest.mark.parametrize(
    ("switch", "changed"),
    [
        ("label_correction", {"confidence", "column_sum"}),
        ("distribution_finetuning", {"distribution"}),
        ("mixup_pass", {"params", "rest", "loss", "loss_pass2"}),
    ],
)
def test_an_ablation_changes_its_part_and_nothing_else(switch, changed):
    before, _, _ = reference()
    after, metrics = advance(before, PARTS, **{switch: False})
    assert differences(after, metrics) == changed
    if switch != "mixup_pass":  # off means as before the step
        if switch == "label_correction":
            np.testing.assert_array_equal(after.rows, before.rows)
        else:
            np.testing.assert_array_equal(after.shared.distribution, before.shared.distribution)


def test_thresholds_off_means_one_half():
    before, _, _ = reference()
    after, metrics = advance(before, class_aware_thresholds=False)
    sharp = ndlp.sharpen(before.rows[batch(0)["index"]], 2.0)
    np.testing.assert_allclose(metrics["hard_labels"], (np.asarray(sharp) > 0.5).sum(1).mean(), rtol=1e-6)
    assert "hard_labels" in differences(after, metrics)
    # Correction and fine-tuning read the confidence and the logits, not the hard labels.
    assert not differences(after, metrics) & {"confidence", "column_sum", "distribution"}


def test_epoch_zero_leaves_the_mixup_pass_without_a_trace():
    before = start()
    after, metrics = advance(before)
    alone, _ = advance(before, mixup_pass=False)
    assert metrics["reliable"].any() and float(metrics["loss_pass2"]) == 0
    assert equal(after, alone)


def test_the_step_of_epoch_zero_is_compiled_without_the_mixup_pass():
    def never(key, concentration):
        raise AssertionError("the mixup pass is traced")

    before, parts = start(), PARTS._replace(mixup_weight=never)
    (after, metrics), (want, expected) = compiled(SETTINGS, parts, 0)(before, batch(0)), advance(before)
    assert metrics.keys() == expected.keys() and float(metrics["loss_pass2"]) == 0
    for got, wanted in zip(jax.tree.leaves((after, metrics)), jax.tree.leaves((want, expected)), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-7)
    with pytest.raises(AssertionError, match="mixup pass is traced"):
        compiled(SETTINGS, parts, 1)(before, batch(0))


def test_an_empty_reliable_set_leaves_no_trace():
    none = PARTS._replace(select_reliable=lambda loss, *_: jnp.zeros(loss.shape, bool))
    before, _, _ = reference()
    after, metrics = advance(before, none)
    alone, _ = advance(before, mixup_pass=False)
    assert float(metrics["loss_pass2"]) == 0
    assert equal(after, alone) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after.params))


def test_one_function_can_be_replaced():
    every = PARTS._replace(select_reliable=lambda loss, *_: jnp.ones(loss.shape, bool))
    after, metrics = advance(reference()[0], every)
    assert metrics["reliable"].all()
    assert differences(after, metrics) == {"params", "rest", "loss", "loss_pass2", "reliable"}


def test_the_class_distribution_starts_every_epoch_uniform():
    seen = []

    def watch(loss, hard, distribution, alpha):
        jax.debug.callback(lambda r, a: seen.append((np.asarray(r), float(a))), distribution, alpha)
        return ndlp.select_reliable(loss, hard, distribution, alpha)

    run, method = compiled(SETTINGS, PARTS._replace(select_reliable=watch)), make()
    at = start()._replace(shared=method.init(pad(data()[1]), data()[2])[0])
    after = []
    for number in range(3 * STEPS):
        at, _ = run(at, batch(number))
        after.append(np.asarray(at.shared.distribution))
        jax.effects_barrier()
    for number, (distribution, share) in enumerate(seen):
        want = np.full(C, 1 / C) if number % STEPS == 0 else after[number - 1]
        np.testing.assert_allclose(distribution, want, rtol=1e-6)
        np.testing.assert_allclose(share, 0.4 + 0.4 * (number // STEPS) / EPOCHS, rtol=1e-6)
    assert len(seen) == 3 * STEPS and np.ptp(after[STEPS - 1]) > 0.01


def test_beliefs_are_the_table_and_its_hard_labels():
    method, learned = make(), reference()[1]
    assert method.beliefs is not None
    soft, hard = method.beliefs(learned.shared, learned.rows)
    np.testing.assert_array_equal(soft, learned.rows)
    table = np.asarray(learned.rows)[:N].astype(float)
    phi = table.sum(0) / (data()[1] != 0).sum(0)
    sharp = table**2 / (table**2).sum(1, keepdims=True)
    np.testing.assert_array_equal(np.asarray(hard)[:N], sharp > phi)
    assert not np.asarray(hard)[N:].any()
