"""What the trainer asks of a method, and nothing more.

A method is pure functions. It sees the network only through `Forward`, keeps what it must remember in two pytrees of
its own (`shared` by all images, and `rows`, tables with one row an image), and lists its passes. The trainer
differentiates each pass, adds the gradients up, and calls `update` once a step. Gathering and scattering rows,
duplicate indices, steps that are not finite, devices and checkpoints are the trainer's.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax

from ltpml_jax.methods.priors import Prior


class Forward(Protocol):
    """The network in training mode, under the parameters that are differentiated.

    Returns what the network returns (one classifier: logits float32 [B, C]) and its new BatchNorm statistics, which
    start from those before the pass. Rows outside `mask` bool [B] enter no batch statistics (None: all rows do).
    """

    def __call__(self, images: jax.Array, mask: jax.Array | None, key: jax.Array) -> tuple[Any, Any]:
        """Run the network on images float32 [B, H, W, 3]."""
        ...


class Keys(NamedTuple):
    """One step's random keys, by purpose."""

    jitter: jax.Array
    dropout: jax.Array
    method: jax.Array


class Context(NamedTuple):
    """What a pass or an update may read, as it was before the step.

    images: float32 [B, H, W, 3], distorted and normalised; states: int8 [B, C] of LabelState (0 negative, 1 positive,
    2 candidate, 3 unknown); candidates: float32 [B, C], 1 where an annotator named the class (positive or candidate);
    epoch: int32 []; shared: the method's state that all images share, replicated; rows: this batch's rows [B, ...] of
    the method's tables; writes: bool [B], in `update`: the rows that will be stored (the last of its image in the
    batch, in a step that is applied); teacher: images -> what the network returns, in evaluation mode under the
    averaged parameters (optim.ema; None where that is 0).
    """

    images: jax.Array
    states: jax.Array
    candidates: jax.Array
    epoch: jax.Array
    keys: Keys
    shared: Any
    rows: Any
    writes: jax.Array
    teacher: Callable[[jax.Array], Any] | None = None


class Pass(NamedTuple):
    """One differentiated piece of a step.

    loss: (forward, context, carry) -> (loss [], (carry, BatchNorm statistics)); `carry` is None in the first pass and
    has one structure from then on. when: (context, carry) -> bool []: the pass leaves no trace where it is False
    (only a derivative that is not finite keeps the step from being applied all the same); None means always.
    from_epoch: the first epoch (from 0) with this pass; the steps of earlier ones are compiled without it. That of the
    first pass is 0.
    """

    loss: Callable[[Forward, Context, Any], tuple[jax.Array, tuple[Any, Any]]]
    when: Callable[[Context, Any], jax.Array] | None = None
    from_epoch: int = 0


class Blocks(NamedTuple):
    """What a method's network is made of, from the model section of the config.

    classifier: number -> a classifier; backbone: number -> a backbone (images -> features [B, h, w, F], with F as its
    attribute `features`; its `stages` gives what every stage gives, with their F in `stage_features`); both with the
    pretrained weights of the config, and with random weights of their own for each number; pair: two classifiers, which
    return (logits, logits). classes: C; seed: for what the method adds; prior: what is known of the classes. A module
    of the method's own keeps backbones under the name `backbone`, so that frozen stages are found, and under `frozen`
    what is not to train. The first classifier starts from the run in config.model.start_from, where that names one;
    a backbone by itself never does.
    """

    classifier: Callable[[int], Any]
    backbone: Callable[[int], Any]
    pair: Callable[[], Any]
    classes: int
    seed: int
    prior: Prior


def single(blocks: Blocks) -> Any:
    """One classifier."""
    return blocks.classifier(0)


class Plan(NamedTuple):
    """What a method may know of the run before it starts."""

    epochs: int
    batch_size: int


class Method(NamedTuple):
    """A learning method as pure functions over a state of its own.

    init: (states int8 [N, C], Prior) -> (shared, rows); rows beyond the training images (padding) are all negative.
    update: (context, carry) -> (shared, rows [B, ...], metrics, a dict of small arrays).
    network: Blocks -> nnx.Module, called as module(images, train=, mask=, dropout_key=).
    predictions: by name, what the network returns -> logits [B, C]; the first is the headline, by which `best` is
    chosen. beliefs: (shared, rows [n, ...]) -> (soft, hard) pseudo labels, both [n, C]; None where it has none.
    """

    init: Callable[[jax.Array, Prior], tuple[Any, Any]]
    passes: tuple[Pass, ...]
    update: Callable[[Context, Any], tuple[Any, Any, dict[str, jax.Array]]]
    network: Callable[[Blocks], Any] = single
    predictions: Mapping[str, Callable[[Any], jax.Array]] = {"network": lambda logits: logits}
    beliefs: Callable[[Any, Any], tuple[jax.Array, jax.Array]] | None = None


class Entry(NamedTuple):
    """A line of METHODS. make: (*sections, Plan) -> Method, ValueError for settings that cannot work together.

    sections: the config sections (name -> NamedTuple of settings) that `make` takes, in order. second_stage: whether it
    works on a finished run, which config.model.start_from must name then.
    """

    make: Callable[..., Method]
    sections: Mapping[str, type]
    second_stage: bool = False
