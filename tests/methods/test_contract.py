"""What every entry of METHODS, and any method of one's own, may rely on, and what the trainer may rely on of it."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ltpml_jax import state, step
from ltpml_jax.config import build_method, default_config
from ltpml_jax.methods.all_methods import METHODS
from ltpml_jax.methods.base import Blocks, Method
from ltpml_jax.methods.priors import Prior
from ltpml_jax.models import classifier
from ltpml_jax.runtime import checkpoints
from tests.helpers import tiny
from tests.helpers.toys import TOYS

pytestmark = pytest.mark.usefixtures("least_optimised")

N, C, B, SIDE, STEPS = 48, 6, 16, tiny.SIDE, 3
NAMES = [*METHODS, *TOYS]
SUMMED = ("focal", "asl", "pasl", "hill", "splc")  # over batch and classes
# Of gradients; comic sums too, of logits of scale 16.
SCALES = {"comic": 1 / (B * C * 16)} | dict.fromkeys(SUMMED, 1 / (B * C))


BLOCKS = Blocks(
    classifier=lambda number: tiny.Classifier(C, number),
    backbone=tiny.Features,
    pair=lambda: classifier.Pair(tiny.Classifier(C, 0), tiny.Classifier(C, 1)),  # type: ignore[arg-type]
    classes=C,
    seed=0,
    prior=Prior(np.linspace(16, 4, C), np.array(N), np.array(0.3)),
)


@pytest.fixture(autouse=True)
def plain_draws():
    with tiny.plain_draws():
        yield


@functools.cache
def method(name: str) -> Method:
    """The method, with what it will store of a batch among its metrics."""
    config = default_config()
    config.data.batch_size, config.train.epochs = B, 3
    config.comic.feature_width = config.comic.attention_width = 8
    config.comic.attention_dropout = 0.0  # drawn by place in the batch, as a classifier's dropout is
    config.noise.branch_dropout = 0.0
    if name in METHODS:
        config.method.name = name
    plain = build_method(config) if name in METHODS else TOYS[name]()
    assert plain is not None

    def update(context, carry):
        shared, rows, metrics = plain.update(context, carry)
        return shared, rows, metrics | {f"row{n}": leaf for n, leaf in enumerate(jax.tree.leaves(rows))}

    return plain._replace(update=update)


@functools.cache
def labels() -> np.ndarray:
    rng = np.random.default_rng(0)
    states = (rng.random((N, C)) < np.geomspace(0.5, 0.1, C)).astype(np.int8)
    states[rng.random((N, C)) < 0.3] = 2
    states[np.arange(N), rng.integers(0, C, N)] = 2
    return states


def batch(number: int, distinct: bool = False) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    index = (rng.permutation(N)[:B] if distinct else rng.integers(0, N, B)).astype(np.int32)
    if not distinct:
        index[B // 2] = index[0]
    images = np.random.default_rng(99).normal(size=(N, SIDE, SIDE, 3)).astype(np.float32)
    return {"image": images[index], "index": index, "states": labels()[index]}


def optimizer(name: str) -> optax.GradientTransformation:
    return optax.chain(optax.scale(SCALES.get(name, 1.0)), optax.sgd(0.5, 0.9))


@functools.cache
def parts(name: str) -> classifier.Parts:
    return classifier.split(method(name).network(BLOCKS), 0)


@functools.cache
def start(name: str) -> state.TrainState:
    padded = jnp.asarray(np.pad(labels(), ((0, state.padded(N) - N), (0, 0))))
    prior = Prior(jnp.asarray(labels().sum(0), jnp.float32), jnp.float32(N))
    made = parts(name)

    @jax.jit
    def begin(trainable, rest, table, prior):
        return state.init_state(trainable, rest, optimizer(name), method(name), table, prior, seed=0, averaged=True)

    return begin(made.trainable, made.rest, padded, prior)


@functools.cache
def compiled(name: str, devices: int) -> step.Step:
    forward = classifier.make_forward(parts(name).graphdef)
    recipe = step.Recipe(forward, optimizer(name), lambda key, images: images, STEPS, ema=0.9)
    mesh = state.make_mesh(jax.devices()[:devices])
    return step.jit_step(step.make_stages(method(name), recipe), mesh, start(name), one_jit=True)


def placed(name: str, tree: state.TrainState, devices: int) -> state.TrainState:
    return jax.device_put(
        jax.device_get(tree), state.state_shardings(start(name), state.make_mesh(jax.devices()[:devices]))
    )


def advance(name: str, at: state.TrainState, served: dict[str, Any], devices: int = 1) -> tuple[state.TrainState, dict]:
    """A step; everything on the host again."""
    served = jax.device_put(served, state.batch_sharding(state.make_mesh(jax.devices()[:devices])))
    return jax.device_get(compiled(name, devices)(placed(name, at, devices), served))


def run(name: str, at: state.TrainState, numbers: list[int], devices: int = 1) -> tuple[state.TrainState, list[dict]]:
    """Steps on these batches."""
    history = []
    for number in numbers:
        at, metrics = advance(name, at, batch(number), devices)
        history.append(metrics)
    return at, history


@pytest.mark.parametrize("name", NAMES)
def test_rows_outside_the_batch_do_not_change_and_of_duplicates_the_last_wins(name):
    before, _ = run(name, start(name), [1, 2])
    served = batch(3)
    after, metrics = advance(name, before, served)
    others = np.setdiff1d(np.arange(state.padded(N)), served["index"])
    last = {int(row): place for place, row in enumerate(served["index"])}
    assert len(last) < B
    for number, (old, new) in enumerate(zip(jax.tree.leaves(before.rows), jax.tree.leaves(after.rows), strict=True)):
        np.testing.assert_array_equal(old[others], new[others])
        for row, place in last.items():
            np.testing.assert_array_equal(new[row], metrics[f"row{number}"][place])
    assert int(after.step) == int(before.step) + 1 and int(after.skipped) == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_permuted_batch_permutes_the_result(name):
    """In the first epoch, where no method draws partners by place."""
    served, order = batch(5, distinct=True), np.random.default_rng(1).permutation(B)
    after, metrics = advance(name, start(name), served)
    again, permuted = advance(name, start(name), {key: value[order] for key, value in served.items()})
    for number in range(len(jax.tree.leaves(after.rows))):
        np.testing.assert_allclose(permuted[f"row{number}"], metrics[f"row{number}"][order], rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), again, after)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_of_nan_changes_nothing(name):
    before, _ = run(name, start(name), [1, 2, 3, 4])
    served = batch(6)
    served["image"][3] = np.nan
    after, _ = advance(name, before, served)
    assert (int(after.step), int(after.skipped)) == (int(before.step) + 1, 1)
    jax.tree.map(np.testing.assert_array_equal, after._replace(step=before.step, skipped=before.skipped), before)


@pytest.mark.parametrize(("name", "devices"), [*((name, 8) for name in NAMES), *((name, 2) for name in TOYS)])
def test_devices_agree(name, devices):
    """Of what METHODS has, test_step.py and whole runs have 2 devices too."""
    (want, expected), (got, metrics) = (run(name, start(name), list(range(6)), count) for count in (1, devices))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), got, want)
    for one, other in zip(metrics, expected, strict=True):
        np.testing.assert_allclose(one["loss"], other["loss"], rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_is_the_whole_state(name, tmp_path: Path):
    want, _ = run(name, start(name), list(range(6)))
    half, _ = run(name, start(name), list(range(3)))
    with checkpoints.open_manager(tmp_path) as manager:
        checkpoints.save(manager, placed(name, half, 8), {"next_batch": 3}, {}, None)
        shapes = jax.eval_shape(lambda: start(name))
        restored = checkpoints.restore(manager, 3, shapes, None).state
    got, _ = run(name, restored, list(range(3, 6)))
    jax.tree.map(np.testing.assert_array_equal, got, want)


@pytest.mark.parametrize("name", NAMES)
def test_the_average_follows_the_parameters(name):
    """d = min(0.9, (1 + t) / (10 + t)) in step t."""
    at, want = start(name), jax.device_get(start(name).params)
    for number in range(4):
        at, _ = run(name, at, [number])
        decay = min(0.9, (1 + number) / (10 + number))
        want = jax.tree.map(lambda mean, new, d=decay: d * mean + (1 - d) * new, want, at.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), at.average, want)


@pytest.mark.parametrize("name", NAMES)
def test_predictions_and_beliefs_have_the_shapes_of_labels(name):
    after, _ = run(name, start(name), [0, 1])
    made, mesh = method(name), state.make_mesh(jax.devices()[:1])
    predict = step.jit_predict(classifier.make_forward(parts(name).graphdef), made, mesh)
    images = np.zeros((5, SIDE, SIDE, 3), np.uint8)
    outputs = predict(state.evaluated(after), after.rest, images)  # type: ignore[arg-type]
    assert list(outputs) == list(made.predictions)
    assert all(logits.shape == (5, C) and np.isfinite(logits).all() for logits in outputs.values())
    if made.beliefs is not None:
        soft, hard = made.beliefs(after.shared, jax.tree.map(lambda table: table[:7], after.rows))
        assert soft.shape == hard.shape == (7, C) and set(np.unique(hard)) <= {0, 1}
        assert ((np.asarray(soft) >= 0) & (np.asarray(soft) <= 1)).all()


def test_the_teacher_sees_the_average():
    """A method that reports what the teacher says of its batch."""
    seen = method("bce")._replace(
        update=lambda context, carry: (context.shared, (), {"teacher": context.teacher(context.images)})
    )
    forward = classifier.make_forward(parts("bce").graphdef)
    recipe = step.Recipe(forward, optimizer("bce"), lambda key, images: images, STEPS, ema=0.9)
    stages = step.make_stages(seen, recipe)
    before, served = jax.tree.map(jnp.asarray, (run("bce", start("bce"), [0, 1])[0], batch(2)))
    _, metrics = jax.jit(lambda at: stages.finish(at, served, stages.first(at, served)))(before)
    want, _ = forward(before.average, before.rest, served["image"], train=False, mask=None, dropout_key=None)
    np.testing.assert_allclose(metrics["teacher"], want, rtol=1e-5)
    differs = jax.tree.map(lambda a, b: np.abs(a - b).max() > 1e-4, before.average, before.params)
    assert any(jax.tree.leaves(differs))
