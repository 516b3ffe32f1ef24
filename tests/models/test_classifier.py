"""The classifier as pure functions: masking, freezing, dtypes, sharding."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ltpml_jax.errors import UserError
from ltpml_jax.models import classifier
from tests.helpers import weights

pytestmark = pytest.mark.usefixtures("least_optimised")

CLASSES = 20
SPEC = classifier.ModelSpec("resnet_small", 64, 0.0, 1, "stored", "float32", True, True)
SCRATCH = dataclasses.replace(SPEC, dropout=0.5, frozen_stages=0, backbone_norm="batch")
KEY = jax.random.key(7)


def _spec(**changes: Any) -> classifier.ModelSpec:
    return dataclasses.replace(SPEC, **changes)


@functools.cache  # nothing may change them: the forward pass is pure
def _parts(spec: classifier.ModelSpec) -> classifier.Parts:
    with weights.from_numpy():
        return classifier.split(classifier.build(spec, CLASSES, 0), spec.frozen_stages)


def _images(batch: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(batch, 32, 32, 3)).astype(np.float32)


@functools.cache
def _step(spec: classifier.ModelSpec):
    """Jitted (trainable, rest, images, mask) -> ((loss of the mask's rows, (logits, rest)), gradients)."""
    forward = classifier.make_forward(_parts(spec).graphdef)

    def loss(trainable: nnx.State, rest: nnx.State, images: Array, mask: Array | None):
        logits, new = forward(trainable, rest, images, train=True, mask=mask, dropout_key=KEY)
        rows = jnp.arange(1.0, 1 + logits.size).reshape(logits.shape) * logits / logits.size
        total = jnp.sum(rows if mask is None else jnp.where(mask[:, None], rows, 0))
        return total, (logits, new)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def _run(spec: classifier.ModelSpec, images: np.ndarray, mask: np.ndarray | None):
    parts = _parts(spec)
    return jax.device_get(_step(spec)(parts.trainable, parts.rest, images, mask))


def _close(got: Any, want: Any, tolerance: float = 2e-4) -> None:
    def check(a: np.ndarray, b: np.ndarray) -> None:
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * (1 + float(np.abs(b).max())))

    jax.tree.map(check, got, want)


def _jitted(graphdef: nnx.GraphDef[Any]):
    """The forward pass as one program; what it returns is NumPy's."""
    forward = jax.jit(classifier.make_forward(graphdef), static_argnames="train")
    return lambda *arguments, **options: jax.device_get(forward(*arguments, **options))


def test_padding_changes_nothing() -> None:
    images, mask = _images(4), np.arange(8) < 4
    (value, (logits, new)), grads = _run(SCRATCH, images, None)
    for garbage in (1e30, np.nan, np.inf):
        padded = np.concatenate([images, np.full((4, 32, 32, 3), garbage, np.float32)])
        (padded_value, (padded_logits, padded_new)), padded_grads = _run(SCRATCH, padded, mask)
        _close((2 * padded_value, padded_logits[:4], padded_new), (value, logits, new))
        _close(jax.tree.map(lambda g: 2 * g, padded_grads), grads)  # the loss divides by the rows, padding too


def test_masked_rows_anywhere() -> None:
    images, mask = _images(8), np.array([0, 1, 0, 1, 1, 0, 0, 1], bool)
    (_, (alone, new_alone)), _ = _run(SPEC, images[mask], None)
    (_, (among, new_among)), _ = _run(SPEC, images, mask)
    _close((among[mask], new_among), (alone, new_alone))


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("spec", [SPEC, SCRATCH])
def test_hardly_any_reliable_row_stays_finite(rows: int, spec: classifier.ModelSpec) -> None:
    result = _run(spec, _images(8), np.arange(8) < rows)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))
    kept = jax.tree.map(np.array_equal, result[0][1][1], _parts(spec).rest)
    assert all(jax.tree.leaves(kept)) == (rows == 0)


def test_forward_is_pure_and_keeps_the_structure() -> None:
    parts = _parts(_spec(backbone_norm="batch"))
    before = jax.tree.map(np.array, (parts.trainable, parts.rest))
    forward = _jitted(parts.graphdef)
    _, new = forward(parts.trainable, parts.rest, _images(4), train=True, mask=None, dropout_key=None)
    jax.tree.map(np.testing.assert_array_equal, (parts.trainable, parts.rest), before)
    assert jax.tree.structure(new) == jax.tree.structure(parts.rest)
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), new, parts.rest)
    assert all(jax.tree.leaves(moved["neck"]))
    _, same = forward(parts.trainable, parts.rest, _images(4), train=False, mask=None, dropout_key=None)
    jax.tree.map(np.testing.assert_array_equal, same, parts.rest)


def test_evaluation_treats_every_row_alone() -> None:
    parts, images = _parts(_spec(dropout=0.5, backbone_norm="batch")), _images(4)
    forward = _jitted(parts.graphdef)
    whole, _ = forward(parts.trainable, parts.rest, images, train=False, mask=None, dropout_key=None)
    one, _ = forward(parts.trainable, parts.rest, images[2:3], train=False, mask=None, dropout_key=None)
    _close(one, whole[2:3], 1e-5)


def test_dropout_is_the_keys() -> None:
    neck = classifier.Neck(8, 400, 0.5, nnx.Rngs(0))
    x = np.random.default_rng(0).normal(size=(4, 2, 3, 8)).astype(np.float32)
    run = nnx.jit(lambda neck, x, seed: neck(x, train=True, mask=None, dropout_key=jax.random.key(seed)))
    first, again, other = (np.asarray(run(neck, x, seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first == 0, other == 0)
    assert 0.4 < np.mean(first == 0) < 0.6
    more = np.asarray(run(neck, np.concatenate([x, x]), 1))
    np.testing.assert_array_equal(more[:4] == 0, first == 0)


def _convolutions(frozen_stages: int) -> tuple[int, float]:
    spec = _spec(frozen_stages=frozen_stages, fold_norm=False, pointwise_matmul=False)
    parts = _parts(spec)
    traced = _step(spec).trace(parts.trainable, parts.rest, _images(2), None)
    cost: Any = traced.lower().compile().cost_analysis()
    return str(traced.jaxpr).count("conv_general_dilated["), cost["flops"]


def test_frozen_stages_have_no_backward_pass() -> None:
    # 12 convolutions forward; backward two each, without the gradient of what comes from a frozen part:
    # of the image (1), and of stage 1's output, which two convolutions of stage 2 read.
    counts, flops = zip(*(_convolutions(frozen) for frozen in (0, 1, 4)), strict=True)
    assert counts == (12 + 2 * 12 - 1, 12 + 2 * 9 - 2, 12)
    assert flops[0] > 1.2 * flops[1] > 1.2 * 1.2 * flops[2]


@pytest.mark.parametrize("frozen", [0, 1, 4])
def test_split_names_what_trains(frozen: int) -> None:
    made = nnx.eval_shape(lambda: classifier.build(_spec(frozen_stages=frozen), CLASSES, 0))
    parts = classifier.split(made, frozen)
    still = {path[1] for path, _ in nnx.to_flat_state(parts.trainable) if path[0] == "backbone"}
    all_names = {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}
    held = {0: set(), 1: {"conv1", "bn1", "layer1"}, 4: all_names}
    assert still == all_names - held[frozen]
    assert {"neck", "head"} < set(parts.trainable) | {""}
    leaves = [leaf for _, leaf in nnx.to_flat_state(parts.trainable)]
    assert all(isinstance(leaf, nnx.Param) for leaf in leaves)


@pytest.mark.parametrize("frozen", [0, 2])
def test_fast_and_plain_models_have_equal_gradients(frozen: int) -> None:
    fast, plain = (_spec(frozen_stages=frozen, fold_norm=on, pointwise_matmul=on) for on in (True, False))
    _close(_run(fast, _images(4), None), _run(plain, _images(4), None))


def test_bfloat16_computes_in_it_and_returns_float32() -> None:
    (_, (want, _)), _ = _run(SPEC, _images(4), None)
    (_, (got, new)), grads = _run(_spec(dtype="bfloat16"), _images(4), None)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((got, new, grads)))
    assert 0 < np.abs(got - want).max() < 0.1 * np.abs(want).max()


def test_resnet50_at_224_without_any_array() -> None:
    spec = _spec(backbone="resnet50", neck_width=256, dropout=0.5, dtype="bfloat16")
    parts = classifier.split(nnx.eval_shape(lambda: classifier.build(spec, 80, 0)), 1)
    images, mask = jax.ShapeDtypeStruct((32, 224, 224, 3), jnp.float32), jax.ShapeDtypeStruct((32,), bool)

    def run(trainable: nnx.State, rest: nnx.State, images: Array, mask: Array) -> tuple[Array, nnx.State]:
        return classifier.make_forward(parts.graphdef)(trainable, rest, images, train=True, mask=mask, dropout_key=KEY)

    logits, new = jax.eval_shape(run, parts.trainable, parts.rest, images, mask)
    assert (logits.shape, logits.dtype) == ((32, 80), jnp.float32)
    assert jax.tree.map(jnp.shape, new) == jax.tree.map(jnp.shape, parts.rest)


def test_sharded_batch_gives_the_same_step() -> None:
    images, mask, parts = _images(8), np.arange(8) % 3 > 0, _parts(SCRATCH)
    mesh = Mesh(np.array(jax.devices()), ("data",))
    rows, everywhere = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))
    states = jax.device_put((parts.trainable, parts.rest), everywhere)
    sharded = _step(SCRATCH)(*states, *jax.device_put((images, mask), rows))
    assert len(sharded[0][1][0].sharding.device_set) == 8
    _close(sharded, _run(SCRATCH, images, mask))


def test_draws_have_the_keys_of_nnx() -> None:
    ours, theirs = classifier.WeightKeys(jax.random.key(3)), nnx.Rngs(jax.random.key(3))
    for _ in range(3):
        np.testing.assert_array_equal(*(jax.random.key_data(keys.params()) for keys in (ours, theirs)))


def test_initial_weights() -> None:
    classifier._initial_state.clear_cache()  # of programs of tests that compile as little optimised as can be
    models = [classifier.build(SPEC, CLASSES, seed) for seed in range(8)]
    # Pooled over seeds: 10,240 draws of the head give a standard error of 0.7% (one seed alone: 2%).
    heads, necks = ([m.head.kernel[...] for m in models], [m.neck.linear.kernel[...] for m in models])
    assert np.std(np.stack(heads)) == pytest.approx(0.01, rel=0.03)
    assert np.std(np.stack(necks)) == pytest.approx(np.sqrt(2 / 64), rel=0.03)
    assert not np.any(models[0].head.bias[...])  # pyright: ignore[reportOptionalSubscript]
    again = classifier.build(SPEC, CLASSES, 0)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(models[0]), nnx.state(again))
    assert not np.array_equal(models[0].backbone.conv1.kernel[...], models[1].backbone.conv1.kernel[...])
    ahead = classifier.build(SPEC, CLASSES, 0, draw_backbone=False)  # of weights from a file
    assert {type(leaf) for leaf in jax.tree.leaves(nnx.state(ahead.backbone))} == {jax.ShapeDtypeStruct}
    for part in ("neck", "head"):
        jax.tree.map(np.testing.assert_array_equal, *(nnx.state(getattr(m, part)) for m in (ahead, models[0])))


@pytest.mark.parametrize(
    "name,value",
    [
        ("backbone", "resnet51"),
        ("backbone_norm", "frozen"),
        ("dtype", "float16"),
        ("frozen_stages", 5),
        ("dropout", 1.0),
    ],
)
def test_bad_spec_is_named(name: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"model.{name} is .*{value}"):
        classifier.build(_spec(**{name: value}), CLASSES, 0)
