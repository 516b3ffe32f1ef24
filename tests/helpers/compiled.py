"""Functions of the package as one program each: operation by operation, every one of them compiles for itself."""

import functools
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, compiled whole: arrays among its arguments are traced, all else (settings too) is constant."""

    @functools.wraps(function)
    def call(*positional: Any, **named: Any) -> Any:
        leaves, tree = jax.tree.flatten((positional, named))
        if not any(isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves):  # it makes a method, say
            return function(*positional, **named)
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):  # part of another program already
            leaves = [jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf for leaf in leaves]
            positional, named = jax.tree.unflatten(tree, leaves)
            return function(*positional, **named)
        arrays = [own(leaf) if isinstance(leaf, jax.Array | np.ndarray) else None for leaf in leaves]
        constants = tuple(
            None if array is not None else (type(leaf), leaf) for leaf, array in zip(leaves, arrays, strict=True)
        )
        return jax.device_get(run(function, tree, constants, arrays))  # what a test does with it is NumPy's

    return call


def own(array: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
    """The array; one of NumPy as a copy, as JAX keeps the type that it gave one under enable_x64 for later too."""
    return array if isinstance(array, jax.Array) else array.copy()


# Programs that run once or twice cost more to compile than to run.
@functools.partial(jax.jit, static_argnums=(0, 1, 2), compiler_options={"xla_backend_optimization_level": 0})
def run(function: Callable[..., Any], tree: Any, constants: tuple[Any, ...], arrays: list[Any]) -> Any:
    """The function of arguments that were taken apart; with the types of constants, as 0 and False are equal keys."""
    leaves = [array if fixed is None else fixed[1] for fixed, array in zip(constants, arrays, strict=True)]
    positional, named = jax.tree.unflatten(tree, leaves)
    return function(*positional, **named)


class Compiled:
    """A module of which every function is compiled whole when it is called."""

    def __init__(self, module: types.ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        return compiled(found) if isinstance(found, types.FunctionType) else found


def gradient(*arguments: Any, **options: Any) -> Callable[..., Any]:
    """jax.grad, compiled whole."""
    return compiled(jax.grad(*arguments, **options))


def value_and_gradient(*arguments: Any, **options: Any) -> Callable[..., Any]:
    """jax.value_and_grad, compiled whole."""
    return compiled(jax.value_and_grad(*arguments, **options))
