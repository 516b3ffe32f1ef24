"""Replay golden files through the public functions: `python tests/replay.py FILE...`.

Files of all kinds (NDLP's one step and whole trajectory, and the layouts of tests/layouts) are distinguished by their
arrays. Prints one line a file with its largest relative deviations, and exits with status 1 above the tolerance. Runs
in float64.
"""

import os
import sys
import zipfile
import zlib
from pathlib import Path

if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")  # almost all of the time is compiling
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ltpml_jax.methods import losses, ndlp, rows
from ltpml_jax.methods.base import Plan
from ltpml_jax.methods.priors import Prior
from ltpml_jax.state import init_state
from ltpml_jax.step import Recipe, make_stages
from tests.layouts import LAYOUTS
from tests.layouts.base import Golden, compare

TOLERANCE = 1e-5
DB = {  # the two published settings of the DB loss
    "voc": losses.DBSettings(0.05, 5.0, 0.1, 10.0, 0.3),
    "coco": losses.DBSettings(0.05, 2.0, 0.1, 10.0, 0.2),
}


def replay_step(gold: Golden) -> Golden:
    """Outputs of a one-step file, from the single functions of NDLP."""
    given = {name: value for name, value in gold.items() if not name.startswith("out_")}
    numbers = {name: value for name, value in given.items() if value.dtype.kind in "biuf"}
    out = dict(jax.jit(step_outputs, static_argnums=1)(numbers, DB[dataset(gold)]))
    out["mix_chosen"] = np.flatnonzero(out["out_chosen"])
    return out


def step_outputs(gold: dict[str, jax.Array], db: losses.DBSettings) -> dict[str, jax.Array]:
    """The first pass of a one-step file and the update of the state, and its second pass where it has one."""
    prior = Prior(gold["class_count"] * 1.0, gold["train_size"] * 1.0)
    index, table, logits = gold["batch_index"], gold["confidence_in"] * 1.0, gold["logits"] * 1.0
    old, candidates = rows.gather(table, index), gold["candidates"][index]
    total = rows.init_sum(table)
    phi = ndlp.class_thresholds(total.value, (table != 0).sum(0))
    sharp = ndlp.sharpen(old, gold["gamma"])
    hard = ndlp.hard_labels(sharp, phi)
    adjusted = logits + losses.class_bias(prior, db)[None]
    loss, mean, grad = loss_and_grad(logits, hard, prior, db)
    corrected = ndlp.correct_labels(old, adjusted, candidates, gold["mu"])
    out = {
        "out_phi": phi,
        "out_sharp": sharp,
        "out_pseudo": hard,
        "out_loss": loss,
        "out_loss_mean": mean,
        "out_grad_logits": grad,
        "out_chosen": ndlp.select_reliable(loss.mean(-1), hard, gold["emp_dist_in"], gold["alpha"]),
        "out_pred_adj": ndlp.candidate_softmax(adjusted, candidates),
        "out_emp_dist": ndlp.finetune_distribution(gold["emp_dist_in"], old),
        "out_confidence": rows.scatter(table, index, old, corrected, rows.last_occurrence(index)),
    }
    return out | (mix_outputs(gold, sharp, mean, prior, db) if "mix_logits" in gold else {"out_total": mean})


def mix_outputs(
    gold: dict[str, jax.Array], sharp: jax.Array, first: jax.Array, prior: Prior, db: losses.DBSettings
) -> dict[str, jax.Array]:
    """The second pass of a one-step file: labels, loss, gradient, and the total. No chosen sample: no loss."""
    chosen, perm = gold["mix_chosen"].astype(int), gold["mix_perm"].astype(int)
    partner = jnp.arange(len(sharp)).at[chosen].set(chosen[perm])
    labels = ndlp.mixup(sharp, partner, gold["mix_lambda"])[chosen]
    loss, mean, grad = loss_and_grad(gold["mix_logits"] * 1.0, labels, prior, db)
    return {
        "out_mix_labels": labels,
        "out_mix_loss": loss,
        "out_mix_loss_mean": mean,
        "out_mix_grad_logits": grad,
        "out_total": first + gold["eta"] * mean,
    }


def loss_and_grad(logits: jax.Array, labels: jax.Array, prior: Prior, db: losses.DBSettings):
    """DB focal loss [B, C], its mean [] over all rows (0 where there is none), and the mean's gradient [B, C]."""

    def mean(logits: jax.Array):
        loss = losses.db_focal(logits, labels, prior, db)
        return ndlp.masked_mean(loss, jnp.ones(len(loss), bool)), loss

    (value, loss), grad = jax.value_and_grad(mean, has_aux=True)(logits)
    return loss, value, grad


def dataset(gold: Golden) -> str:
    """The file's key into DB."""
    name = str(gold["dataset"])
    if name not in DB:
        raise ValueError(f"its dataset is {name!r}; there are DB settings for {', '.join(DB)}")
    return name


def replay_trajectory(gold: Golden) -> Golden:
    """Outputs of a trajectory file, from the trainer's own step on a linear model."""
    steps, table = int(gold["steps"]), gold["candidates"]
    mu = float(gold["mu"]) if "mu" in gold else 0.1
    settings = ndlp.NDLPSettings(
        gamma=float(gold["gamma"]),
        alpha=tuple(gold["alpha"].tolist()),
        eta=float(gold["eta_end"]),
        correction_rate=mu,
    )
    db, plan = DB[dataset(gold)], Plan(int(gold["epochs"]), gold["batches"].shape[1])
    prior = Prior(gold["class_count"] * 1.0, gold["train_size"] * 1.0)
    weights = {"W": jnp.asarray(gold["W0"], float), "b": jnp.zeros(gold["W0"].shape[1])}
    optimizer = optax.chain(
        optax.add_decayed_weights(float(gold["weight_decay"])),
        optax.sgd(float(gold["lr"]), float(gold["momentum"])),
    )
    state = init_state(weights, {}, optimizer, ndlp.ndlp(settings, db, plan), jnp.asarray(table), prior, seed=0)

    @jax.jit
    def step(state, batch, weight, perm):  # the file's random draws take the place of ours
        draws = ndlp.NDLPParts(pair_reliable=given_pairs(perm), mixup_weight=lambda key, _: weight)
        method = ndlp.ndlp(settings, db, plan, draws)
        stages = make_stages(method, Recipe(linear, optimizer, lambda key, images: images, steps))
        return stages.finish(state, batch, stages.first(state, batch))

    out: dict[str, list] = {"out_losses": [], "out_nchosen": [], "out_emp_dist": []}
    for number, index in enumerate(gold["batches"]):
        batch = {"image": gold["features"][index], "index": index.astype(np.int32), "states": table[index]}
        state, metrics = step(state, batch, gold["mix_lambdas"][number], gold["mix_perms"][number])
        out["out_losses"].append(metrics["loss"])
        out["out_nchosen"].append(metrics["reliable"].sum())
        out["out_emp_dist"].append(state.shared.distribution)
    final = {"out_confidence": state.rows, "out_W": state.params["W"], "out_b": state.params["b"]}
    return {name: np.asarray(values) for name, values in out.items()} | final


def linear(params, rest, images, *, train, mask, dropout_key):
    """The trajectory files' model, in the trainer's forward signature."""
    return images @ params["W"] + params["b"][None], rest


def given_pairs(perm: jax.Array):
    """A pairing function that follows a file's permutation (ended by -1) among the reliable samples."""

    def pair(key: jax.Array, reliable: jax.Array) -> jax.Array:
        members = jnp.argsort(~reliable)
        padded = jnp.pad(perm, (0, len(members) - len(perm)), constant_values=-1)
        return jnp.zeros_like(members).at[members].set(jnp.where(padded >= 0, members[padded], members))

    return pair


def deviation(got: np.ndarray, want: np.ndarray) -> float:
    """Largest relative deviation; the scale of an element is its own size, at least 1e-2 of the largest.

    Shapes that differ, and values that are not finite on either side, deviate by infinity.
    """
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    if got.shape != want.shape or not (np.isfinite(got).all() and np.isfinite(want).all()):
        return float("inf")
    scale = np.maximum(np.abs(want), 1e-2 * np.abs(want).max(initial=0)) + 1e-300
    return float((np.abs(got - want) / scale).max(initial=0))


def replay(path: str) -> dict[str, float]:
    """Largest deviation of every output that a golden file holds; ValueError for what is not a golden file."""
    gold = read(path)
    wanted = [name for name in gold if name.startswith("out_") or name == "mix_chosen"]
    if not any(name.startswith("out_") for name in wanted):
        raise ValueError("it has no out_* array to compare with")
    try:
        got = replay_trajectory(gold) if "batches" in gold else replay_step(gold)
    except KeyError as error:
        raise ValueError(f"it lacks the array {error}") from error
    unknown = [name for name in wanted if name not in got]
    if unknown:
        raise ValueError(f"nothing here computes its {', '.join(unknown)}")
    return {name: deviation(got[name], gold[name]) for name in wanted}


def read(path: str) -> Golden:
    """The arrays of an .npz file, without unpickling anything."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, EOFError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"cannot be read as .npz ({error})") from error


def verdict(path: str) -> tuple[bool, str]:
    """Whether a file's outputs are all within the tolerance, and the line to print."""
    try:
        gold = read(path)
        layout = next((layout for layout in LAYOUTS if layout.matches(gold)), None)
        if layout is not None:
            return judged(path, compare(layout, gold))
        result = replay(path)
    except Exception as error:  # one bad file must not hide the results of the others
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        return False, f"{path}: NOT REPLAYED, {' '.join(reason.split())}"
    good = max(result.values()) <= TOLERANCE
    values = " ".join(f"{name}={value:.1e}" for name, value in result.items())
    return good, f"{path}: {'ok' if good else 'ABOVE TOLERANCE'} {values}"


def judged(path: str, compared: list[tuple[str, float, float]]) -> tuple[bool, str]:
    """The verdict on a file of a layout: the array that comes nearest to its tolerance, or all that are above it."""
    above = [one for one in compared if not one[1] <= one[2]]
    shown = above or [max(compared, key=lambda one: one[1] / one[2])]
    values = " ".join(f"{name}={value:.1e} (of {tolerance:.0e})" for name, value, tolerance in shown)
    return not above, f"{path}: {'ABOVE TOLERANCE' if above else 'ok'} {len(compared)} arrays, largest {values}"


def main(paths: list[str]) -> int:
    """Replay files; 0 when all are within the tolerance, 1 when one is not or cannot be replayed, 2 without any."""
    if not paths:
        print("usage: python tests/replay.py FILE...  (golden .npz files)", file=sys.stderr)
        return 2
    failed = 0
    for path in paths:
        good, line = verdict(path)
        print(line, flush=True)
        failed += not good
    return int(failed > 0)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    sys.exit(main(sys.argv[1:]))
