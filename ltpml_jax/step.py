"""The training step as pure functions: (state, batch) -> (state, metrics), for any method.

`make_stages` gives the step in two stages, the first pass and everything after it; `jit_step` compiles them as
one program or as two (two hold fewer activations at a time, one has less overhead; the arithmetic is the same).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ltpml_jax.methods.base import Context, Keys, Method, Pass
from ltpml_jax.state import TrainState, batch_sharding, state_shardings

Batch = dict[str, jax.Array]  # image uint8 [B, H, W, 3], index int32 [B], label uint8 [B, C]
Metrics = dict[str, jax.Array]
Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


class Work(NamedTuple):
    """What the passes accumulate: gradients, losses [] by pass, BatchNorm state, and the method's carry."""

    images: jax.Array
    grads: Any
    losses: tuple[jax.Array, ...]
    rest: Any
    carry: Any


class Stages(NamedTuple):
    """first: (state, batch) -> work; finish: (state, batch, work) -> (state, metrics)."""

    first: Callable[[TrainState, Batch], Work]
    finish: Callable[[TrainState, Batch, Work], tuple[TrainState, Metrics]]


def make_stages(
    method: Method,
    forward: Callable,
    optimizer: optax.GradientTransformation,
    prepare: Callable[[jax.Array, jax.Array], jax.Array],
    steps_per_epoch: int,
) -> Stages:
    """Bind a method, a network, an optimiser and the device part of the augmentation to a step.

    forward: (params, rest, images, train=, mask=, dropout_key=) -> (logits, rest). prepare: (key, images as
    served) -> network input.
    """

    def context(state: TrainState, batch: Batch, images: jax.Array) -> Context:
        label = batch["label"].astype(jnp.result_type(float))
        epoch = state.step // steps_per_epoch
        return Context(images, batch["index"], label, epoch, step_keys(state), state.method)

    def run(stage: Pass, state: TrainState, batch: Batch, work: Work) -> Work:
        ctx = context(state, batch, work.images)

        def loss(params: Any):
            def network(images: jax.Array, mask: jax.Array | None, key: jax.Array):
                return forward(params, work.rest, images, train=True, mask=mask, dropout_key=key)

            return stage.run(network, ctx, work.carry)

        return accumulate(stage, ctx, jax.value_and_grad(loss, has_aux=True), state.params, work)

    def first(state: TrainState, batch: Batch) -> Work:
        images = prepare(step_keys(state).jitter, batch["image"])
        zeros = jax.tree.map(jnp.zeros_like, state.params)
        return run(method.passes[0], state, batch, Work(images, zeros, (), state.rest, None))

    def finish(state: TrainState, batch: Batch, work: Work) -> tuple[TrainState, Metrics]:
        for stage in method.passes[1:]:
            work = run(stage, state, batch, work)
        updates, opt_state = optimizer.update(work.grads, state.opt_state, state.params)
        applies = finite((work.losses, updates))
        ctx = context(state, batch, work.images)._replace(applies=applies)
        learned, diagnostics = method.update(ctx, work.carry)
        params = optax.apply_updates(state.params, updates)
        skipped = jnp.where(applies, 0, state.skipped + 1)
        new = TrainState(state.step, skipped, state.key, params, work.rest, opt_state, learned)
        new = keep_unless(applies, new, state._replace(skipped=skipped), method)
        return new._replace(step=state.step + 1), step_metrics(work) | diagnostics | {"skipped": skipped}

    return Stages(first, finish)


def accumulate(stage: Pass, ctx: Context, value_and_grad: Callable, params: Any, work: Work) -> Work:
    """Run one pass and add its gradients to those before it; a pass whose condition says no leaves no trace.

    It is computed all the same: XLA:CPU runs convolutions inside lax.cond on one slow path (measured 12 times the
    whole step), and the passes that a condition drops are those of the first epoch.
    """
    (loss, (carry, rest)), grads = value_and_grad(params)
    if stage.when is not None:
        counts = stage.when(ctx, work.carry)
        loss, grads = jax.tree.map(lambda leaf: jnp.where(counts, leaf, 0), (loss, grads))
        carry, rest = jax.tree.map(lambda new, old: jnp.where(counts, new, old), (carry, rest), (work.carry, work.rest))
    grads = jax.tree.map(jnp.add, work.grads, grads)
    return Work(work.images, grads, (*work.losses, loss), rest, carry)


def finite(tree: Any) -> jax.Array:
    """Bool []: whether no leaf holds a NaN or an infinity."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def keep_unless(applies: jax.Array, new: TrainState, old: TrainState, method: Method) -> TrainState:
    """The new state where the step applies, else the old one; tables by sample are left to the method."""

    def choose(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda leaf, before: jnp.where(applies, leaf, before), new, old)

    def without_tables(state: TrainState) -> TrainState:
        return state._replace(method=state.method._replace(**dict.fromkeys(method.rows))) if method.rows else state

    chosen = choose(without_tables(new), without_tables(old))
    if not method.rows:
        return chosen
    return chosen._replace(method=chosen.method._replace(**{name: getattr(new.method, name) for name in method.rows}))


def step_keys(state: TrainState) -> Keys:
    """The step's keys, by purpose, from the base key and the step number alone."""
    base = jax.random.wrap_key_data(state.key)
    return Keys(*jax.random.split(jax.random.fold_in(base, state.step), len(Keys._fields)))


def step_metrics(work: Work) -> Metrics:
    """The total loss and that of every pass."""
    by_pass = {f"loss_pass{number}": loss for number, loss in enumerate(work.losses, 1)}
    return {"loss": sum(work.losses, start=jnp.zeros(()))} | by_pass


def jit_step(stages: Stages, method: Method, mesh: Mesh, state: TrainState, one_jit: bool) -> Step:
    """Compile the stages with declared shardings; the state is donated. `state` gives shapes only."""
    shardings = state_shardings(state, method, mesh)
    by_batch, everywhere = batch_sharding(mesh), NamedSharding(mesh, P())
    if one_jit:

        def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
            return stages.finish(state, batch, stages.first(state, batch))

        return jax.jit(
            step,
            in_shardings=(shardings, by_batch),
            out_shardings=(shardings, everywhere),
            donate_argnums=0,
        )
    first = jax.jit(stages.first, in_shardings=(shardings, by_batch))
    finish = jax.jit(stages.finish, out_shardings=(shardings, everywhere), donate_argnums=0)
    return lambda state, batch: finish(state, batch, first(state, batch))
