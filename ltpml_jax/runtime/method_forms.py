"""Whether a method gives what the trainer asks for, found while JAX traces it: a compiled step has none of this."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from ltpml_jax.errors import UserError
from ltpml_jax.methods.base import Context, Method, Pass

# What a line of metrics.jsonl has of its own, beside loss_pass1, loss_pass2, ...
RESERVED = ("step", "epoch", "batch", "loss", "epoch_loss", "skipped", "not_applied", "unreadable")


def check_method(method: Any) -> None:
    """Raise UserError for what is no Method, or one without a first pass or a prediction."""
    if not isinstance(method, Method):
        kind = type(method).__name__
        raise UserError(f"The method is of type {kind}; give a Method, as `make` of an entry of METHODS returns one.")
    passes = method.passes
    if not isinstance(passes, tuple) or not passes or not all(isinstance(one, Pass) for one in passes):
        raise UserError(f"The method's passes are {passes!r}; give a tuple of one Pass or more.")
    if passes[0].from_epoch:
        raise UserError(f"The method's first pass begins with epoch {passes[0].from_epoch}; it is in every step: 0.")
    if not method.predictions:
        raise UserError("The method has no predictions; give one at least, the headline.")


def check_tables(rows: Any, size: int) -> None:
    """Raise UserError where a table that `init` gave has not a row for each of `size` images."""
    for path, table in _named(rows):
        if table.shape[:1] != (size,):
            raise UserError(f"The method's init gave a table rows{path} of {_text(table)} for {size} rows of states.")


def check_update(context: Context, shared: Any, rows: Any, metrics: Any) -> None:
    """Raise UserError where `update` gave a state of another form than before the step, or metrics of taken names."""
    for what, before, after in (("shared", context.shared, shared), ("rows", context.rows, rows)):
        if jax.tree.structure(before) != jax.tree.structure(after):
            trees = f"{jax.tree.structure(after)}, and {jax.tree.structure(before)} was before"
            raise UserError(f"The method's update gave {what} as another pytree: {trees}.")
        for (path, old), (_, new) in zip(_named(before), _named(after), strict=True):
            if _text(old) != _text(new):
                raise UserError(f"The method's update gave {what}{path} as {_text(new)}; it was {_text(old)} before.")
    if not isinstance(metrics, Mapping):
        raise UserError(f"The method's update gave metrics of type {type(metrics).__name__}; give a dict, or {{}}.")
    taken = [name for name in metrics if name in RESERVED or name.startswith("loss_pass")]
    if taken:
        raise UserError(f"The method's update gave a metric {taken[0]!r}, which the records have; name it otherwise.")


def check_outputs(
    method: Method, predict: Callable[..., Any], shapes: Any, batch: int, side: int, classes: int
) -> None:
    """Raise UserError for a prediction of another shape than [B, C], and for beliefs that are not two arrays [n, C].

    Nothing is computed. predict: (params, rest, images uint8 [B, H, W, 3]) -> logits by name; shapes: of the state.
    """
    images = jax.ShapeDtypeStruct((batch, side, side, 3), "uint8")
    for name, logits in jax.eval_shape(predict, shapes.params, shapes.rest, images).items():
        if logits.shape != (batch, classes):
            raise UserError(
                f"The method's prediction {name!r} is {_text(logits)}; logits {[batch, classes]} are needed."
            )
    if method.beliefs is None:
        return
    found = jax.tree.leaves(jax.eval_shape(method.beliefs, shapes.shared, shapes.rows))
    rows = {leaf.shape[0] for leaf in jax.tree.leaves(shapes.rows)}
    if len(found) != 2 or any(len(leaf.shape) != 2 or leaf.shape[1] != classes for leaf in found):
        given = ", ".join(map(_text, found))
        raise UserError(f"The method's beliefs are {given}; two arrays {[*rows, classes]} are needed, soft and hard.")


def _named(tree: Any) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]


def _text(array: Any) -> str:
    """Shape and dtype, of anything that becomes an array."""
    return f"{jax.numpy.result_type(array)}{list(np.shape(array))}"
