import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from ltpml_jax import state as states
from ltpml_jax.methods import supervised
from ltpml_jax.methods.base import Plan
from ltpml_jax.methods.losses import DBSettings
from ltpml_jax.methods.ndlp import NDLPSettings, ndlp
from ltpml_jax.methods.priors import Prior
from tests.helpers.compiled import compiled

DB = DBSettings(0.05, 2.0, 0.1, 10.0, 0.2)
NDLP = ndlp(NDLPSettings(gamma=2.0), DB, Plan(3, 2))
CANDIDATES = np.array([[1, 1, 0], [0, 1, 0], [1, 1, 1]], np.int8)
PRIOR = Prior(np.array([2.0, 3.0, 1.0]), np.array(3.0))
SGD = optax.sgd(0.1, 0.9)
init_state = compiled(states.init_state)


def pad(table: np.ndarray) -> np.ndarray:
    return np.pad(table, ((0, states.padded(len(table)) - len(table)), (0, 0)))


def fresh(method, table: np.ndarray) -> states.TrainState:
    params, rest = {"W": np.ones((2, 3), np.float32)}, {"mean": np.zeros(2, np.float32)}
    return init_state(params, rest, SGD, method, table, PRIOR, seed=7)


def test_initial_state_of_ndlp_by_hand():
    state = fresh(NDLP, pad(CANDIDATES))
    assert state.step.dtype == jnp.int32 and int(state.step) == 0
    assert state.key.shape == (2,) and state.key.dtype == jnp.uint32
    method, confidence = state.shared, state.rows
    assert confidence.shape == (256, 3) and confidence.dtype == jnp.float32
    np.testing.assert_allclose(confidence[:3], [[0.5, 0.5, 0], [0, 1, 0], [1 / 3, 1 / 3, 1 / 3]], rtol=1e-6)
    assert not confidence[3:].any()
    np.testing.assert_allclose(method.column_sum.value, [5 / 6, 11 / 6, 1 / 3], rtol=1e-6)
    np.testing.assert_array_equal(method.candidate_count, [2, 3, 1])
    np.testing.assert_allclose(method.distribution, [1 / 3] * 3, rtol=1e-6)
    np.testing.assert_array_equal(state.opt_state[0].trace["W"], np.zeros((2, 3)))


def test_the_seed_decides_the_key():
    one, other = (init_state({}, {}, SGD, NDLP, CANDIDATES, PRIOR, seed) for seed in (1, 2))
    assert (one.key != other.key).any()


@pytest.mark.parametrize(("rows", "want"), [(1, 256), (256, 256), (257, 512), (0, 0)])
def test_tables_are_padded_to_a_multiple_of_every_number_of_devices(rows, want):
    assert states.padded(rows) == want


def test_padding_changes_no_class_statistic():
    one, other = fresh(NDLP, CANDIDATES).shared, fresh(NDLP, pad(CANDIDATES)).shared
    np.testing.assert_array_equal(one.column_sum.value, other.column_sum.value)
    np.testing.assert_array_equal(one.candidate_count, other.candidate_count)


def test_only_the_tables_of_a_method_are_sharded():
    mesh = states.make_mesh(jax.devices())
    assert mesh.axis_names == ("data",) and mesh.size == 8
    state = fresh(NDLP, pad(CANDIDATES))
    shardings = states.state_shardings(state, mesh)
    assert shardings.rows.spec == P("data")
    rest = jax.tree.leaves(shardings._replace(rows=None))
    assert len(rest) == len(jax.tree.leaves(state)) - 1
    assert all(sharding.is_fully_replicated for sharding in rest)
    placed = jax.device_put(state, shardings).rows
    assert {shard.data.shape for shard in placed.addressable_shards} == {(32, 3)}


def test_shardings_from_shapes_and_without_tables():
    mesh, method = states.make_mesh(jax.devices()[:2]), supervised.bce(Plan(1, 2))
    shapes = jax.eval_shape(lambda state: state, fresh(method, CANDIDATES))
    leaves = jax.tree.leaves(states.state_shardings(shapes, mesh))
    assert len(leaves) == len(jax.tree.leaves(shapes))
    assert all(sharding.is_fully_replicated for sharding in leaves)


def test_batches_are_split_by_their_first_axis():
    mesh = states.make_mesh(jax.devices())
    placed = jax.device_put(np.zeros((16, 5)), states.batch_sharding(mesh))
    assert {shard.data.shape for shard in placed.addressable_shards} == {(2, 5)}


def test_a_process_with_all_devices_makes_every_place_of_a_batch():
    assert states.own_part(states.make_mesh(jax.devices()), 16) == slice(0, 16)
