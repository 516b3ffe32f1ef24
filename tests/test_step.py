"""The step as it is compiled for the trainer: devices, donation, transfers, and what the compiler made of it."""

import functools
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ltpml_jax import state, step
from ltpml_jax.methods import losses, ndlp, supervised
from ltpml_jax.methods.base import Plan
from ltpml_jax.methods.priors import Prior
from tests.methods import test_ndlp as tiny

pytestmark = pytest.mark.usefixtures("least_optimised")

BATCH = 16
METHOD = tiny.make(parts=tiny.PARTS)


def batch(number: int) -> dict[str, Any]:
    features, candidates, _ = tiny.data()
    index = np.random.default_rng(number).integers(0, tiny.N, BATCH, dtype=np.int32)
    return {"image": features[index], "index": index, "states": candidates[index]}


def shardings(devices: int) -> tuple[state.TrainState, jax.sharding.NamedSharding]:
    """Where the state and the batches of the tiny problem go on the first devices."""
    mesh = state.make_mesh(jax.devices()[:devices])
    return state.state_shardings(tiny.start(), mesh), state.batch_sharding(mesh)


@functools.cache
def compiled(devices: int, one_jit: bool) -> step.Step:
    stages = step.make_stages(METHOD, step.Recipe(tiny.forward, tiny.OPTIMIZER, lambda key, images: images, 16))
    mesh = state.make_mesh(jax.devices()[:devices])
    return step.jit_step(stages, mesh, tiny.start(), one_jit)


@functools.cache
def run(devices: int, one_jit: bool) -> tuple[state.TrainState, dict[str, np.ndarray]]:
    """Thirty-two steps, two epochs."""
    by_state, by_batch = shardings(devices)
    at = jax.device_put(tiny.start(), by_state)
    history: list[step.Metrics] = []
    for number in range(32):
        at, metrics = compiled(devices, one_jit)(at, jax.device_put(batch(number), by_batch))
        history.append(jax.block_until_ready(metrics))  # XLA:CPU aborts where too many programs wait for one another
    return jax.device_get(at), {name: np.stack([m[name] for m in history]) for name in history[0]}


@pytest.mark.parametrize("one_jit", [True, False])
def test_devices_and_jits_give_the_same_run(one_jit):
    """On 8 devices and on one; test_trainer.py has a run that continues on 2."""
    (want, expected), (got, metrics) = run(1, True), run(8, one_jit)
    assert metrics["loss_pass2"][:16].max() == 0 and metrics["loss_pass2"][16:].min() > 0
    assert 0 < expected["reliable"].mean() < 1 and (expected["reliable"].sum(1) > 0).all()
    np.testing.assert_array_equal(metrics["reliable"], expected["reliable"])
    for name in ("loss", "loss_pass1", "loss_pass2", "hard_labels"):
        np.testing.assert_allclose(metrics[name], expected[name], rtol=1e-5, err_msg=name)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), got, want)


@pytest.mark.parametrize("one_jit", [True, False])
def test_the_state_is_donated(one_jit):
    by_state, by_batch = shardings(8)
    at = jax.device_put(tiny.start(), by_state)
    after, _ = compiled(8, one_jit)(at, jax.device_put(batch(0), by_batch))
    assert at.rows.is_deleted() and at.params["W"].is_deleted()
    assert after.rows.sharding == at.rows.sharding and int(after.step) == 1


@pytest.mark.parametrize("one_jit", [True, False])
def test_no_transfer_inside_an_epoch(one_jit):
    by_state, by_batch = shardings(8)
    advance, at = compiled(8, one_jit), jax.device_put(tiny.start(), by_state)
    batches = [jax.device_put(batch(number), by_batch) for number in range(6)]
    with jax.transfer_guard("disallow"):
        for served in batches:
            at, metrics = advance(at, served)
        with pytest.raises(Exception, match="[Dd]isallowed"):  # the guard does guard here
            advance(at, batch(6))
    assert np.isfinite(metrics["loss"])


def test_keys_depend_on_the_seed_and_the_step_alone():
    at = tiny.start()
    same = at._replace(params={"W": jnp.ones(3)})
    keys, other, later = (step.step_keys(s) for s in (at, same, at._replace(step=jnp.int32(1))))
    raw = [np.asarray(jax.random.key_data(key)) for key in (*keys, *later)]
    np.testing.assert_array_equal(jax.random.key_data(other.dropout), raw[1])
    assert len({tuple(key) for key in raw}) == 6  # three purposes, two steps


def test_a_supervised_step_is_plain_gradient_descent():
    _, _, prior = tiny.data()
    method, optimizer = supervised.bce(Plan(1, BATCH)), optax.sgd(0.5)

    def forward(params, rest, images, *, train, mask, dropout_key):
        return images @ params, rest

    stages = step.make_stages(method, step.Recipe(forward, optimizer, lambda key, images: 2 * images, 4))
    weights = jnp.ones((tiny.FEATURES, tiny.C))
    served = batch(0)
    at = state.init_state(weights, {}, optimizer, method, jnp.zeros((1, tiny.C)), prior, 0)
    after, metrics = jax.jit(lambda at: stages.finish(at, served, stages.first(at, served)))(at)
    x, y = 2 * served["image"], served["states"].astype(np.float32)
    probability = 1 / (1 + np.exp(-x @ np.ones(weights.shape, np.float32)))
    want = 1 - 0.5 * x.T @ (probability - y) / y.size
    np.testing.assert_allclose(after.params, want, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], losses.bce(x @ np.asarray(weights), y).mean(), rtol=1e-5)
    assert int(after.step) == 1 and set(metrics) == {"loss", "loss_pass1", "skipped"}


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_step_that_is_not_finite_is_not_applied(broken):
    """And the next one continues as if it had not been, but for the number of the step."""
    advance, by_batch = compiled(8, True), shardings(8)[1]

    def take(at: state.TrainState, number: int, value: float = 1.0) -> state.TrainState:
        served = batch(number)
        served["image"] = served["image"] * np.float32(value)
        return advance(jax.device_put(at, shardings(8)[0]), jax.device_put(served, by_batch))[0]

    before = jax.device_get(take(tiny.start(epoch=1), 0))
    after = jax.device_get(take(before, 1, broken))
    assert (int(after.step), int(after.skipped)) == (int(before.step) + 1, 1)
    jax.tree.map(np.testing.assert_array_equal, after._replace(step=before.step, skipped=before.skipped), before)
    assert int(take(after, 2, broken).skipped) == 2
    good, want = jax.device_get(take(after, 3)), jax.device_get(take(before._replace(step=after.step), 3))
    assert int(good.skipped) == 0
    jax.tree.map(np.testing.assert_array_equal, good, want)


def large_step(rows: int, classes: int, devices: int) -> jax.stages.Compiled:
    """A whole NDLP step compiled for a table [rows, classes] over the devices; nothing is allocated."""
    method, mesh = tiny.make(parts=tiny.PARTS), state.make_mesh(jax.devices()[:devices])

    def fresh():
        params = {"W": jnp.zeros((tiny.FEATURES, classes)), "b": jnp.zeros(classes)}
        prior, rest = Prior(jnp.ones(classes), jnp.ones(())), {"mean": jnp.zeros(tiny.FEATURES)}
        return state.init_state(params, rest, tiny.OPTIMIZER, method, jnp.zeros((rows, classes)), prior, 0)

    stages = step.make_stages(method, step.Recipe(tiny.forward, tiny.OPTIMIZER, lambda key, images: images, 4))
    shapes = jax.eval_shape(fresh)
    served = {
        "image": jax.ShapeDtypeStruct((32, tiny.FEATURES), jnp.float32),
        "index": jax.ShapeDtypeStruct((32,), jnp.int32),
        "states": jax.ShapeDtypeStruct((32, classes), jnp.int8),
    }
    advance = step.jit_step(stages, mesh, shapes, one_jit=True)
    lowered = advance.lower(shapes, served)  # pyright: ignore[reportFunctionMemberAccess]
    return lowered.compile(compiler_options={"xla_cpu_use_fusion_emitters": True})  # as a user's program has them


def sizes(text: str) -> list[int]:
    """Elements of every array shape in a piece of HLO."""
    shapes = re.findall(r"\w\d+\[([\d,]*)\]", text)
    return [math.prod(int(side) for side in shape.split(",") if side) for shape in shapes]


def test_no_work_on_the_whole_table_on_many_devices():
    rows, classes = 102_400, 80
    text = large_step(rows, classes, devices=8).as_text()
    local = f"f32[{rows // 8},{classes}]"
    assert text and local in text
    assert f"[{rows},{classes}]" not in text  # no device ever holds the whole table
    moved = [line for line in text.splitlines() if re.search(r" (all-|collective-|reduce-scatter)[\w-]*\(", line)]
    assert moved and all(size <= 32 * classes for line in moved for size in sizes(line))
    makers = {match.group(1) for match in re.finditer(re.escape(local) + r"\S* ([\w-]+)\(", text)}
    assert "scatter" in makers and makers <= {"scatter", "parameter", "fusion", "get-tuple-element", "bitcast"}


def test_the_work_does_not_grow_with_the_table():
    small, large = (large_step(rows, 10, devices=1) for rows in (1024, 102_400))
    text = str(large.as_text())
    assert "f32[102400,10]" in text and not re.search(r"f32\[102400,10\]\S* copy\(", text)
    flops = [(program.cost_analysis() or {})["flops"] for program in (small, large)]
    assert flops[0] == flops[1] > 0


def test_the_state_begins_without_a_second_table_on_any_device():
    """And nothing of the table leaves its device."""
    rows, classes, mesh = 102_400, 80, state.make_mesh(jax.devices())
    prior = Prior(np.ones(classes, np.float32), np.float32(rows))
    shapes = jax.eval_shape(lambda table: METHOD.init(table, prior), jnp.zeros((rows, classes), jnp.int8))
    by_row, everywhere = state.batch_sharding(mesh), jax.NamedSharding(mesh, jax.P())
    out = (jax.tree.map(lambda _: everywhere, shapes[0]), by_row)
    table = jax.ShapeDtypeStruct((rows, classes), jnp.int8, sharding=by_row)
    begun = jax.jit(lambda labels: METHOD.init(labels, prior), out_shardings=out).lower(table).compile()
    moved = [line for line in begun.as_text().splitlines() if re.search(r" (all-|collective-|reduce-sc)[\w-]*\(", line)]
    assert moved and all(size <= classes for line in moved for size in sizes(line))
    memory, share = begun.memory_analysis(), rows * classes * 4 // 8
    assert memory.output_size_in_bytes < 1.1 * share and memory.temp_size_in_bytes < 0.25 * share


def test_mixup_within_blocks_moves_no_image_between_devices():
    """A batch of 128 on 8 devices: blocks of 16 lie on one device each, the whole batch does not."""
    wide, by_batch = 4096, state.batch_sharding(state.make_mesh(jax.devices()))

    def mix(images, reliable, key, block):
        partner = tiny.PARTS.pair_reliable(key, reliable.reshape(-1, block))
        return ndlp.mixup(images, partner, 0.7)

    def moved(block: int) -> list[int]:
        program = jax.jit(functools.partial(mix, block=block), in_shardings=(by_batch, by_batch, None))
        text = program.lower(jnp.zeros((128, wide)), jnp.ones(128, bool), jax.random.key(0)).compile().as_text()
        lines = [line for line in text.splitlines() if re.search(r" (all-|collective-)[\w-]*\(", line)]
        return [size for line in lines for size in sizes(line)]

    assert max(moved(128)) >= 128 * wide > 100 * max(moved(16), default=0)
