import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ltpml_jax.methods import tables
from ltpml_jax.state import make_mesh


def batches(steps: int, rows: int, batch: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Random indices with duplicates int32 [steps, batch] and new rows float32 [steps, batch, classes]."""
    rng = np.random.default_rng(0)
    index = rng.integers(0, rows, (steps, batch), dtype=np.int32)
    index[:, batch // 2] = index[:, 0]
    return index, rng.dirichlet(np.ones(classes), (steps, batch)).astype(np.float32)


def test_last_occurrence_by_hand():
    got = tables.last_occurrence(jnp.array([4, 1, 4, 2, 1, 4]))
    np.testing.assert_array_equal(got, [False, False, False, True, True, True])


def test_write_rows_equals_writing_in_order():
    index, rows = batches(20, 30, 16, 3)
    want = np.random.default_rng(1).random((30, 3)).astype(np.float32)
    table = jnp.asarray(want)
    total, write = tables.init_sum(table), jax.jit(tables.write_rows)
    for i, r in zip(index, rows, strict=True):
        untouched = np.setdiff1d(np.arange(30), i)
        before = np.asarray(table)
        table, total = write(table, total, i, r)
        np.testing.assert_array_equal(np.asarray(table)[untouched], before[untouched])
        for position, row in zip(i, r, strict=True):
            want[position] = row
        np.testing.assert_array_equal(table, want)
        np.testing.assert_allclose(total.value, want.sum(0, dtype=np.float64), rtol=1e-6)


def test_running_sums_do_not_drift_over_ten_thousand_updates():
    rows, classes, batch = 100_000, 20, 32
    table = jax.nn.softmax(jax.random.normal(jax.random.key(0), (rows, classes)))

    def update(carry, key):
        table, total, plain = carry
        keys = jax.random.split(key, 2)
        index = jax.random.randint(keys[0], (batch,), 0, rows).at[batch // 2 :].set(7)
        index = index.at[-4:].set(index[:4])  # many duplicates of row 7, some of others
        fresh = jax.nn.softmax(4 * jax.random.normal(keys[1], (batch, classes)))
        delta = jnp.where(tables.last_occurrence(index)[:, None], fresh - table[index], 0).sum(0)
        table, total = tables.write_rows(table, total, index, fresh)
        return (table, total, plain + delta), None

    @jax.jit
    def run(table):
        total = tables.init_sum(table)
        return lax.scan(update, (table, total, total.value), jax.random.split(jax.random.key(1), 10_000))[0]

    table, total, plain = run(table)
    want = np.asarray(table).sum(0, dtype=np.float64)
    error = np.abs(np.asarray(total.value, np.float64) / want - 1).max()
    naive = np.abs(np.asarray(plain, np.float64) / want - 1).max()
    assert total.value.dtype == jnp.float32
    assert error < 1e-5
    assert error < naive / 3  # the compensation survives the compiler


def test_init_sum_of_many_rows():
    table = jnp.full((2_000_001, 2), jnp.array([0.1, 0.7]))
    want = np.asarray(table[0], np.float64) * 2_000_001
    np.testing.assert_allclose(tables.init_sum(table).value, want, rtol=1e-6)


@pytest.mark.parametrize("devices", [2, 8])
def test_sharding_by_rows_changes_nothing(devices):
    index, rows = batches(5, 64, 16, 6)
    start = np.random.default_rng(2).random((64, 6)).astype(np.float32)
    results = []
    for count in (1, devices):
        mesh = make_mesh(jax.devices()[:count])
        by_row = NamedSharding(mesh, P("data"))
        table = jax.device_put(start, by_row)
        write = jax.jit(tables.write_rows, out_shardings=(by_row, NamedSharding(mesh, P())), donate_argnums=0)
        total = jax.device_put(tables.init_sum(jnp.asarray(start)), NamedSharding(mesh, P()))
        for i, r in zip(index, rows, strict=True):
            table, total = write(table, total, jax.device_put(i, by_row), jax.device_put(r, by_row))
        assert len(table.sharding.device_set) == count
        results.append((np.asarray(table), np.asarray(total.value)))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-6)
