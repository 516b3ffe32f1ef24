"""Which labels an annotator named, in NumPy and in JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltpml_jax.methods.label_states import LabelState, listed


@pytest.mark.parametrize("dtype", [np.int8, np.int32])
@pytest.mark.parametrize("make", [np.asarray, jnp.asarray, jax.jit(lambda states: states)])
def test_positives_and_candidates_are_listed(make, dtype):
    found = listed(make(np.array([[0, 1], [2, 3]], dtype)))
    assert found.dtype == bool
    np.testing.assert_array_equal(found, [[False, True], [True, False]])
    assert isinstance(found, jax.Array if make is not np.asarray else np.ndarray)


def test_states_are_the_numbers_of_the_files():
    assert [(state.name, state) for state in LabelState] == [
        ("NEGATIVE", 0),
        ("POSITIVE", 1),
        ("CANDIDATE", 2),
        ("UNKNOWN", 3),
    ]


def test_a_program_reads_a_table_of_bytes_as_bytes():
    def types(jaxpr) -> set[str]:
        return {str(value.aval.dtype) for equation in jaxpr.eqns for value in (*equation.invars, *equation.outvars)}

    assert types(jax.make_jaxpr(listed)(jnp.zeros((2, 3), jnp.int8)).jaxpr) == {"int8", "bool"}
