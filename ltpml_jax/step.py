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

from ltpml_jax.methods import rows
from ltpml_jax.methods.base import Context, Keys, Method, Pass
from ltpml_jax.methods.label_states import listed
from ltpml_jax.photometric import normalise
from ltpml_jax.runtime.method_forms import check_update
from ltpml_jax.state import TrainState, batch_sharding, state_shardings

Batch = dict[str, jax.Array]  # image uint8 [B, H, W, 3], index int32 [B], states int8 [B, C] of LabelState
Metrics = dict[str, jax.Array]
Predict = Callable[[Any, Any, jax.Array], dict[str, jax.Array]]
Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


class Work(NamedTuple):
    """What the passes accumulate: gradients, losses [] by pass, BatchNorm statistics, and the method's carry."""

    images: jax.Array
    grads: Any
    losses: tuple[jax.Array, ...]
    rest: Any
    carry: Any


class Stages(NamedTuple):
    """first: (state, batch) -> work; finish: (state, batch, work) -> (state, metrics)."""

    first: Callable[[TrainState, Batch], Work]
    finish: Callable[[TrainState, Batch, Work], tuple[TrainState, Metrics]]


class Recipe(NamedTuple):
    """What a step is made of, beside the method.

    forward: (params, rest, images, train=, mask=, dropout_key=) -> (outputs, rest). optimizer: of optax. prepare: (key,
    images as served) -> network input. ema: decay of the average of the parameters, 0 for none.
    """

    forward: Callable
    optimizer: optax.GradientTransformation
    prepare: Callable[[jax.Array, jax.Array], jax.Array]
    steps_per_epoch: int
    ema: float = 0.0


def make_stages(method: Method, recipe: Recipe, epoch: int | None = None) -> Stages:
    """Bind a method to a network, an optimiser and the device part of the augmentation.

    epoch: one (from 0) whose passes the step has; it is right for all epochs with the same. None: it has every pass,
    and is right for all epochs.
    """

    def first(state: TrainState, batch: Batch) -> Work:
        images = recipe.prepare(step_keys(state).jitter, batch["image"])
        context = make_context(recipe, state, batch, images)
        return run_pass(method.passes[0], recipe, context, state, Work(images, None, (), state.rest, None))

    def finish(state: TrainState, batch: Batch, work: Work) -> tuple[TrainState, Metrics]:
        context = make_context(recipe, state, batch, work.images)
        for stage in method.passes[1:]:
            left_out = epoch is not None and epoch < stage.from_epoch
            work = leave_out(work) if left_out else run_pass(stage, recipe, context, state, work)
        updates, opt_state = recipe.optimizer.update(work.grads, state.opt_state, state.params)
        applies = finite((work.losses, updates))
        context = context._replace(writes=rows.last_occurrence(batch["index"]) & applies)
        shared, new_rows, diagnostics = method.update(context, work.carry)
        check_update(context, shared, new_rows, diagnostics)
        params = optax.apply_updates(state.params, updates)
        average = averaged(state, params, recipe.ema)
        new = state._replace(params=params, average=average, rest=work.rest, opt_state=opt_state, shared=shared)
        skipped = jnp.where(applies, 0, state.skipped + 1)
        tables = rows.scatter(state.rows, batch["index"], context.rows, new_rows, context.writes)
        new = keep_unless(applies, new, state)._replace(step=state.step + 1, skipped=skipped, rows=tables)
        return new, step_metrics(work) | diagnostics | {"skipped": skipped}

    return Stages(first, finish)


def make_context(recipe: Recipe, state: TrainState, batch: Batch, images: jax.Array) -> Context:
    """What the method may read of a step, with `writes` still open."""

    def teacher(images: jax.Array) -> Any:
        return recipe.forward(state.average, state.rest, images, train=False, mask=None, dropout_key=None)[0]

    return Context(
        images=images,
        states=batch["states"],
        candidates=listed(batch["states"]).astype(jnp.result_type(float)),
        epoch=state.step // recipe.steps_per_epoch,
        keys=step_keys(state),
        shared=state.shared,
        rows=rows.gather(state.rows, batch["index"]),
        writes=jnp.zeros(batch["index"].shape, bool),
        teacher=teacher if recipe.ema else None,
    )


def run_pass(stage: Pass, recipe: Recipe, context: Context, state: TrainState, work: Work) -> Work:
    """Run one pass and add its gradients to those before it; a pass whose condition says no leaves no trace.

    It is computed all the same: XLA:CPU runs convolutions inside lax.cond on one slow path (measured 12 times the
    whole step). For whole epochs without a pass there is `from_epoch`. The condition is put on the loss and not on the
    gradients, so that nothing stands between the sums of two passes over the devices: XLA:TPU joins them then, if the
    network folds no BatchNorm (docs/pods.md).
    """
    counts = True if stage.when is None else stage.when(context, work.carry)
    if stage.from_epoch:
        counts &= context.epoch >= stage.from_epoch

    def loss(params: Any):
        def network(images: jax.Array, mask: jax.Array | None, key: jax.Array):
            return recipe.forward(params, work.rest, images, train=True, mask=mask, dropout_key=key)

        value, new = stage.loss(network, context, work.carry)
        if counts is True:
            return value, new
        old = (work.carry, work.rest)
        return jnp.where(counts, value, 0), jax.tree.map(lambda leaf, before: jnp.where(counts, leaf, before), new, old)

    (value, (carry, rest)), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
    grads = grads if work.grads is None else jax.tree.map(jnp.add, work.grads, grads)
    return Work(work.images, grads, (*work.losses, value), rest, carry)


def leave_out(work: Work) -> Work:
    """The same with a loss of 0 for a pass that is not computed."""
    return work._replace(losses=(*work.losses, jnp.zeros_like(work.losses[0])))


def averaged(state: TrainState, params: Any, decay: float) -> Any:
    """The decayed average of the parameters after a step; early steps decay faster, so that the start is forgotten.

    average + (1 - d) (params - average) with d = min(decay, (1 + t) / (10 + t)) in step t, as in TensorFlow's
    ExponentialMovingAverage. It costs one copy of the parameters that train, and one pass over them a step.
    """
    if not decay:
        return state.average
    rate = 1 - jnp.minimum(decay, (1 + state.step) / (10 + state.step))
    return jax.tree.map(lambda mean, new: mean + (rate * (new - mean)).astype(mean.dtype), state.average, params)


def keep_unless(applies: jax.Array, new: TrainState, old: TrainState) -> TrainState:
    """The new state where the step applies, else the old one; without the tables, of which nothing is copied."""
    new, old = new._replace(rows=()), old._replace(rows=())
    return jax.tree.map(lambda leaf, before: jnp.where(applies, leaf, before), new, old)


def finite(tree: Any) -> jax.Array:
    """Bool []: whether no leaf holds a NaN or an infinity."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def step_keys(state: TrainState) -> Keys:
    """The step's keys, by purpose, from the base key and the step number alone."""
    base = jax.random.wrap_key_data(state.key)
    return Keys(*jax.random.split(jax.random.fold_in(base, state.step), len(Keys._fields)))


def step_metrics(work: Work) -> Metrics:
    """The total loss and that of every pass."""
    by_pass = {f"loss_pass{number}": loss for number, loss in enumerate(work.losses, 1)}
    return {"loss": sum(work.losses, start=jnp.zeros(()))} | by_pass


def jit_predict(forward: Callable, method: Method, mesh: Mesh) -> Predict:
    """Compile (params, rest, images uint8 [B, H, W, 3]) -> logits float32 [B, C] of every prediction, on a mesh.

    The predictions come in the method's order, the headline first.
    """

    def predict(params: Any, rest: Any, images: jax.Array) -> dict[str, jax.Array]:
        outputs = forward(params, rest, normalise(images), train=False, mask=None, dropout_key=None)[0]
        return {name: choose(outputs) for name, choose in method.predictions.items()}

    everywhere = NamedSharding(mesh, P())
    compiled = jax.jit(predict, in_shardings=(everywhere, everywhere, batch_sharding(mesh)), out_shardings=everywhere)

    def ordered(params: Any, rest: Any, images: jax.Array) -> dict[str, jax.Array]:
        outputs = compiled(params, rest, images)  # jit sorts a dict by its keys
        return {name: outputs[name] for name in method.predictions}

    return ordered


def jit_step(stages: Stages, mesh: Mesh, state: TrainState, one_jit: bool) -> Step:
    """Compile the stages with declared shardings; the state is donated. `state` gives shapes only."""
    shardings = state_shardings(state, mesh)
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
