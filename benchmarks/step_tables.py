"""The tables of `benchmarks.step`: contenders in alternating rounds, and their ratios."""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from benchmarks import hlo
from benchmarks.synthetic import assembled, placed_batch, random_batch
from ltpml_jax import photometric
from ltpml_jax.experiment import Experiment, augment_on_device, fresh_state
from ltpml_jax.methods import losses
from ltpml_jax.methods.base import Plan
from ltpml_jax.methods.ndlp import NDLPSettings
from ltpml_jax.methods.settings import Config
from ltpml_jax.models import classifier
from ltpml_jax.optimizer import build_optimizer
from ltpml_jax.state import TrainState
from ltpml_jax.step import Batch, Recipe, Step, jit_step, make_stages

Turn = Callable[[], None]
Prepare = Callable[[jax.Array, jax.Array], jax.Array]
REST = 0.5  # seconds before each turn


class Timing(NamedTuple):
    """Medians of a turn: seconds, and processor seconds of all threads, which the load of others moves less."""

    seconds: float
    processor: float


def alternate(contenders: dict[str, Turn], rounds: int) -> dict[str, Timing]:
    """The timings of each, in alternating rounds, after one call that is not counted."""
    taken: dict[str, list[Timing]] = {name: [] for name in contenders}
    for turn in contenders.values():
        turn()
    for _ in range(rounds):
        for name, turn in contenders.items():
            time.sleep(REST)
            started, worked = time.perf_counter(), time.process_time()
            turn()
            taken[name].append(Timing(time.perf_counter() - started, time.process_time() - worked))
    return {name: Timing(*map(statistics.median, zip(*turns, strict=True))) for name, turns in taken.items()}


def without_distortion(key: jax.Array, images: jax.Array) -> jax.Array:
    """Images as they are served, normalised."""
    return photometric.normalise(images)


def recipe(run: Experiment, prepare: Prepare) -> Recipe:
    """The run's network and optimiser, without an average of the parameters."""
    steps = run.task.steps_per_epoch
    return Recipe(classifier.make_forward(run.parts.graphdef), build_optimizer(run.config, steps), prepare, steps)


def ndlp_step(run: Experiment, prepare: Prepare) -> Step:
    """The run's training step, compiled on the first call."""
    stages = make_stages(run.method, recipe(run, prepare))
    return jit_step(stages, run.mesh, run.shapes, run.config.train.one_jit)


def plain_step(run: Experiment, prepare: Prepare) -> Callable[[TrainState, Batch], tuple[TrainState, Any]]:
    """Two forward and backward passes with binary cross-entropy, gradients added, one SGD update; state donated.

    The second pass takes the batch in reverse order, or the compiler would compute both as one.
    """
    forward, optimizer, *_ = recipe(run, prepare)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, jax.Array]:
        key, label = jax.random.wrap_key_data(state.key), (batch["states"] != 0).astype(jnp.float32)
        images = prepare(key, batch["image"])

        def loss(params: Any, rest: Any, images: jax.Array, label: jax.Array, key: jax.Array):
            logits, rest = forward(params, rest, images, train=True, mask=None, dropout_key=key)
            return losses.bce(logits, label).mean(), rest

        differentiate = jax.value_and_grad(loss, has_aux=True)
        (one, rest), grads = differentiate(state.params, state.rest, images, label, key)
        (two, rest), more = differentiate(state.params, rest, images[::-1], label[::-1], jax.random.fold_in(key, 1))
        updates, optimiser = optimizer.update(jax.tree.map(jnp.add, grads, more), state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return state._replace(params=params, rest=rest, opt_state=optimiser), one + two

    return jax.jit(step, donate_argnums=0)


def turn_of(run: Experiment, step: Callable, batch: Any) -> Turn:
    """A call that takes one step and waits for it; it keeps a state of its own."""
    held = [fresh_state(run)]

    def turn() -> None:
        held[0], _ = jax.block_until_ready(step(held[0], batch))

    return turn


def show(found: dict[str, Timing], batch: int, note: str) -> None:
    """Print the timings, and their ratios to the first; `note` on the machine's load stands in the table."""
    base = next(iter(found.values()))
    print(f"{note:<38}{'s/step':>10}{'images/s':>10}{'ratio':>8}{'CPU s':>10}{'ratio':>8}")
    for name, (seconds, processor) in found.items():
        ratios = seconds / base.seconds, processor / base.processor
        print(f"{name:<38}{seconds:>10.4f}{batch / seconds:>10.1f}{ratios[0]:>8.3f}{processor:>10.3f}{ratios[1]:>8.3f}")


def overhead(config: Config, images: int, classes: int, rounds: int) -> dict[str, Timing]:
    """NDLP against two plain passes."""
    run = assembled(config, images, classes)
    batch, distort = placed_batch(run, 0), augment_on_device(config)
    contenders = {
        "two plain passes": turn_of(run, plain_step(run, distort), batch),
        "NDLP": turn_of(run, ndlp_step(run, distort), batch),
        "two passes, no distortion": turn_of(run, plain_step(run, without_distortion), batch),
    }
    return alternate(contenders, rounds)


def torch_turn(run: Experiment, dtype: str) -> tuple[Turn, Any]:
    """PyTorch's step on the same batch, and the object that takes it."""
    from benchmarks import torch_step  # torch is optional

    config, task = run.config, run.task
    plan = Plan(config.train.epochs, config.data.batch_size)
    settings, db = NDLPSettings(**config.ndlp), losses.DBSettings(**config.db)
    candidates = task.served[:] != 0
    step = torch_step.Step(config.model.backbone, candidates, task.prior, settings, db, plan, dtype)
    batch = step.placed(random_batch(run, 0))

    def turn() -> None:
        step(**batch)
        step.wait()

    return turn, step


def against_torch(config: Config, images: int, classes: int, rounds: int) -> dict[str, Timing]:
    """NDLP against the same work in eager PyTorch."""
    run = assembled(config, images, classes)
    turn, _ = torch_turn(run, config.model.dtype)
    contenders = {
        "PyTorch, eager": turn,
        "ours": turn_of(run, ndlp_step(run, without_distortion), placed_batch(run, 0)),
    }
    return alternate(contenders, rounds)


def switches(config: Config, images: int, classes: int, rounds: int) -> dict[str, Timing]:
    """NDLP with every combination of the speed switches."""
    contenders: dict[str, Turn] = {}
    for product in (True, False):
        for folded in (True, False):
            for one in (True, False):
                changed = config.copy_and_resolve_references()
                changed.model.pointwise_matmul, changed.model.fold_norm, changed.train.one_jit = product, folded, one
                run = assembled(changed, images, classes)
                kind = "product" if product else "convolution"
                name = f"1x1 {kind}, {'' if folded else 'not '}folded, {'one jit' if one else 'two'}"
                contenders[name] = turn_of(run, ndlp_step(run, augment_on_device(changed)), placed_batch(run, 0))
    return alternate(contenders, rounds)


def matrix_rate(dtype: str) -> float:
    """FLOP/s of one large product in this type, on the first device: the best of ten."""
    side = 8192 if jax.default_backend() == "gpu" else 1024
    left = jax.random.normal(jax.random.key(0), (side, side), dtype)
    multiply = jax.jit(lambda a, b: a @ b).lower(left, left).compile()
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        jax.block_until_ready(multiply(left, left))
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


def sweep(configs: list[Config], images: int, classes: int, rounds: int, with_torch: bool, note: str) -> None:
    """Print a line for each: flops as the uncompiled step has them, memory as XLA plans it (PyTorch: its own peak)."""
    columns = ("dtype", "batch", "images/s", "of matrix rate", "GiB planned", "PyTorch", "its GiB", "time ratio")
    print(f"{note}\n" + "".join(f"{name:>15}" for name in columns))
    for config in configs:
        run = assembled(config, images, classes)
        step, batch, size = ndlp_step(run, without_distortion), placed_batch(run, 0), config.data.batch_size
        lowered = step.lower(run.shapes, batch)  # pyright: ignore[reportFunctionMemberAccess]
        memory = hlo.memory(lowered.compile())
        planned = (memory["argument"] + memory["output"] - memory["alias"] + memory["temp"]) / 2**30
        contenders, theirs = {"ours": turn_of(run, step, batch)}, None
        if with_torch:
            contenders["torch"], theirs = torch_turn(run, config.model.dtype)
        times = {name: timing.seconds for name, timing in alternate(contenders, rounds).items()}
        rate = lowered.cost_analysis()["flops"] / times["ours"] / matrix_rate(config.model.dtype)
        row = f"{config.model.dtype:>15}{size:>15}{size / times['ours']:>15.1f}{rate:>15.3f}{planned:>15.3f}"
        if theirs is not None:
            row += (
                f"{size / times['torch']:>15.1f}{theirs.peak() / 2**30:>15.2f}{times['ours'] / times['torch']:>15.2f}"
            )
        print(row, flush=True)
