"""What a method's pass is given, made by hand: a context, and a network that answers with fixed logits."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ltpml_jax.methods.base import Context, Forward, Keys


def context(states: np.ndarray, epoch: int = 0, shared: Any = (), rows: Any = ()) -> Context:
    """A context for states int8 [B, C] of 0, 1 and 2; every row will be stored."""
    key = jax.random.key(0)
    return Context(
        images=jnp.asarray(np.zeros((len(states), 2, 2, 3), np.float32)),
        states=jnp.asarray(states, jnp.int8),
        candidates=jnp.asarray(states > 0, float),
        epoch=jnp.int32(epoch),
        keys=Keys(key, key, key),
        shared=shared,
        rows=rows,
        writes=jnp.asarray(np.ones(len(states), bool)),
    )


def answers(outputs: Any) -> Forward:
    """A network that returns `outputs` whatever it sees."""
    return lambda images, mask, key: (outputs, {})
