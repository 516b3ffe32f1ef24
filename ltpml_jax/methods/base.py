"""What the trainer asks of a method, and nothing more.

A method sees the network only through `Forward`, keeps what it must remember in a state type of its own, and
lists its passes. The trainer differentiates each pass, adds the gradients up, and calls `update` once a step.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

from ltpml_jax.priors import Prior


class Forward(Protocol):
    """images [B, H, W, 3] -> (logits float32 [B, C], new BatchNorm state); training mode.

    Rows outside `mask` bool [B] do not enter any batch statistics (None: all rows do).
    """

    def __call__(self, images: jax.Array, mask: jax.Array | None, key: jax.Array) -> tuple[jax.Array, Any]:
        """Run the network."""
        ...


class Keys(NamedTuple):
    """One step's random keys, by purpose."""

    jitter: jax.Array
    dropout: jax.Array
    method: jax.Array


class Context(NamedTuple):
    """What a pass or an update may read; taken before the step changes anything.

    images float32 [B, H, W, 3] normalised; index int32 [B] rows of the training set; label float32 [B, C] the
    labels that are served (candidate sets, or true labels for a ceiling); epoch int32 []; state: the method's;
    applies bool []: False in the update of a step that is not applied, because its loss or gradients are not finite.
    """

    images: jax.Array
    index: jax.Array
    label: jax.Array
    epoch: jax.Array
    keys: Keys
    state: Any
    applies: jax.Array | bool = True


class Pass(NamedTuple):
    """One differentiated piece of a step.

    run: (forward, context, carry) -> (loss [], (carry, BatchNorm state)); `carry` is None in the first pass and
    has one structure from then on. when: (context, carry) -> bool [], the pass leaves no trace where it is
    False; None means always.
    """

    run: Callable[[Forward, Context, Any], tuple[jax.Array, tuple[Any, Any]]]
    when: Callable[[Context, Any], jax.Array] | None = None


class Method(NamedTuple):
    """A learning method as pure functions over a state of its own.

    init: (labels [N, C], Prior) -> state. update: (context, carry) -> (state, diagnostics dict of small arrays).
    beliefs: state -> (soft, hard) pseudo labels, both [N, C], or None where a method has none. rows: the state's
    fields that have one row a training sample (by name), which the trainer shards over devices. Where a step is not
    applied, the trainer keeps the rest of the state; rows are the method's own to keep, since only it knows which.
    """

    init: Callable[[jax.Array, Prior], Any]
    passes: tuple[Pass, ...]
    update: Callable[[Context, Any], tuple[Any, dict[str, jax.Array]]]
    beliefs: Callable[[Any], tuple[jax.Array, jax.Array]] | None
    rows: tuple[str, ...]
