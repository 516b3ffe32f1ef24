import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ltpml_jax.methods import rows as tables
from ltpml_jax.state import make_mesh
from tests.helpers.compiled import compiled


def batches(steps: int, rows: int, batch: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Random indices with duplicates int32 [steps, batch] and new rows float32 [steps, batch, classes]."""
    rng = np.random.default_rng(0)
    index = rng.integers(0, rows, (steps, batch), dtype=np.int32)
    index[:, batch // 2] = index[:, 0]
    return index, rng.dirichlet(np.ones(classes), (steps, batch)).astype(np.float32)


def test_last_occurrence_by_hand():
    got = compiled(tables.last_occurrence)(np.int32([4, 1, 4, 2, 1, 4]))
    np.testing.assert_array_equal(got, [False, False, False, True, True, True])


def write(table, total, index, new, applies=True):
    """What a step does with the rows of its batch, and the column sums."""
    old, writes = tables.gather(table, index), tables.last_occurrence(index) & applies
    return tables.scatter(table, index, old, new, writes), tables.update_sum(total, old, new, writes)


def test_scatter_equals_writing_in_order():
    index, rows = batches(20, 30, 16, 3)
    want = np.random.default_rng(1).random((30, 3)).astype(np.float32)
    table = jnp.asarray(want)
    total, put = compiled(tables.init_sum)(table), jax.jit(write)
    for i, r in zip(index, rows, strict=True):
        untouched = np.setdiff1d(np.arange(30), i)
        before = np.asarray(table)
        table, total = put(table, total, i, r)
        np.testing.assert_array_equal(np.asarray(table)[untouched], before[untouched])
        for position, row in zip(i, r, strict=True):
            want[position] = row
        np.testing.assert_array_equal(table, want)
        np.testing.assert_allclose(total.value, want.sum(0, dtype=np.float64), rtol=1e-6)


def test_running_sums_do_not_drift_over_ten_thousand_updates():
    rows, classes, batch = 100_000, 20, 32

    def update(carry, key):
        table, total, plain = carry
        keys = jax.random.split(key, 2)
        index = jax.random.randint(keys[0], (batch,), 0, rows).at[batch // 2 :].set(7)
        index = index.at[-4:].set(index[:4])  # many duplicates of row 7, some of others
        fresh = jax.nn.softmax(4 * jax.random.normal(keys[1], (batch, classes)))
        delta = jnp.where(tables.last_occurrence(index)[:, None], fresh - table[index], 0).sum(0)
        table, total = write(table, total, index, fresh)
        return (table, total, plain + delta), None

    @jax.jit
    def run():
        table = jax.nn.softmax(jax.random.normal(jax.random.key(0), (rows, classes)))
        total = tables.init_sum(table)
        return lax.scan(update, (table, total, total.value), jax.random.split(jax.random.key(1), 10_000))[0]

    table, total, plain = run()
    want = np.asarray(table).sum(0, dtype=np.float64)
    error = np.abs(np.asarray(total.value, np.float64) / want - 1).max()
    naive = np.abs(np.asarray(plain, np.float64) / want - 1).max()
    assert total.value.dtype == jnp.float32
    assert error < 1e-5
    assert error < naive / 3  # the compensation survives the compiler


def test_init_sum_of_many_rows():
    table = np.full((2_000_001, 2), np.float32([0.1, 0.7]))
    want = table[0].astype(np.float64) * 2_000_001
    np.testing.assert_allclose(compiled(tables.init_sum)(table).value, want, rtol=1e-6)


@pytest.mark.parametrize("devices", [2, 8])
def test_sharding_by_rows_changes_nothing(devices):
    index, rows = batches(5, 64, 16, 6)
    start = np.random.default_rng(2).random((64, 6)).astype(np.float32)
    results = []
    for count in (1, devices):
        mesh = make_mesh(jax.devices()[:count])
        by_row = NamedSharding(mesh, P("data"))
        table = jax.device_put(start, by_row)
        put = jax.jit(write, out_shardings=(by_row, NamedSharding(mesh, P())), donate_argnums=0)
        total = jax.device_put(compiled(tables.init_sum)(start), NamedSharding(mesh, P()))
        for i, r in zip(index, rows, strict=True):
            table, total = put(table, total, jax.device_put(i, by_row), jax.device_put(r, by_row))
        assert len(table.sharding.device_set) == count
        results.append((np.asarray(table), np.asarray(total.value)))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-6)


def test_a_pytree_of_tables_is_written_leaf_by_leaf_and_not_at_all_where_the_step_is_not_applied():
    numbers = np.arange(12, dtype=np.int32)
    tables_before = {"a": numbers.astype(np.float32).reshape(6, 2), "b": numbers[:6], "c": np.zeros((6, 2, 3), np.int8)}
    index = np.int32([4, 1, 4])
    old = compiled(tables.gather)(tables_before, index)
    new = jax.tree.map(lambda rows: (rows.T + np.array([1, 2, 3])).T.astype(rows.dtype), old)
    scatter = jax.jit(tables.scatter)
    after = scatter(tables_before, index, old, new, compiled(tables.last_occurrence)(index))
    for name, table in tables_before.items():
        want = np.array(table)
        want[1], want[4] = new[name][1], new[name][2]
        np.testing.assert_array_equal(after[name], want)
        assert after[name].dtype == table.dtype
    broken = jax.tree.map(lambda rows: np.full_like(rows, np.nan) if rows.dtype == np.float32 else rows + 1, new)
    kept = scatter(tables_before, index, old, broken, np.zeros(3, bool))
    jax.tree.map(np.testing.assert_array_equal, kept, tables_before)
