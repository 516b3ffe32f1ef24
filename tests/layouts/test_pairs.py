"""Golden files of the same layouts: small ones written in plain loops, and those beside the checkout."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.layouts.base import Golden, compare
from tests.layouts.pairs import LAYOUTS, taus
from tests.methods.test_co_label_selection import plain_selection

pytestmark = pytest.mark.usefixtures("least_optimised")

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT.parent / "shared" / "golden" / "methods"
FILES = ("ref_cls_selection", "ref_multilabel_elr_coteach_jocor")
CLS, SHARED = LAYOUTS
FLOAT32 = 1e-5  # tests run in float32


def bce(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, logits) - labels * logits


def selections() -> Golden:
    """Two sets, the second of a name that no description has."""
    gold, rng = {}, np.random.default_rng(0)
    for name, (high, low) in {"b": (0.012, 0.06), "other": (0.25, 0.4)}.items():
        logits, y = rng.normal(0, 2, (2, 14, 9)), (rng.random((14, 9)) < 0.2).astype(int)
        gold |= {f"{name}__zf": logits[0], f"{name}__zg": logits[1], f"{name}__y": y}
        f, g = bce(logits[0], y), bce(logits[1], y)
        for epoch in (0, 4, 30):
            share = min(epoch / 10, 1)
            gold |= selected(f"{name}__e{epoch}", f, g, y == 1, share * high, share * low)
    return gold


def selected(stem: str, f: np.ndarray, g: np.ndarray, positive: np.ndarray, high: float, low: float) -> Golden:
    first = int((1 - high) * (~positive).sum() + 1e-6)
    gold = {f"{stem}__Rh_Rl_k1_k2": np.array([1 - high, 1 - low, first, int((1 - low) * first + 1e-6)])}
    for own, peer, network in ((f, g, "f"), (g, f, "g")):
        mask = plain_selection(own, peer, positive, high, low)
        gold |= {f"{stem}__mask_{network}": mask.astype(int), f"{stem}__loss_{network}": (own * mask).sum() / len(own)}
    return gold


def test_selections():
    gold = selections()
    assert CLS.matches(gold) and not SHARED.matches(gold)
    results = compare(CLS, gold)
    assert len(results) == 2 * 3 * 5 and max(found for _, found, _ in results) < FLOAT32
    np.testing.assert_allclose(taus(gold, "other"), (0.25, 0.4))


@pytest.mark.parametrize("name", ["b__e4__mask_g", "other__e30__mask_f", "b__e0__loss_f", "other__e4__Rh_Rl_k1_k2"])
def test_one_changed_element_is_seen(name):
    gold = selections()
    changed = np.array(gold[name], float)
    changed.flat[-1] += 1
    assert [name for name, found, _ in compare(CLS, gold | {name: changed}) if found > FLOAT32] == [name]


def small_losses() -> Golden:
    """One set of Co-teaching and JoCoR losses at one rate, without gradients."""
    rng = np.random.default_rng(1)
    first, second = rng.normal(0, 2, (2, 11, 4))
    targets = (rng.random((11, 4)) < 0.4) * 1.0
    f, g = bce(first, targets).mean(1), bce(second, targets).mean(1)
    p, q = 1 / (1 + np.exp(-first)), 1 / (1 + np.exp(-second))
    divergence = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    divergence += q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))
    joint, count = 0.4 * (f + g) + 0.6 * divergence.mean(1), int(0.7 * 11)
    gold = {"s9__logits1": first, "s9__logits2": second, "s9__targets": targets}
    gold["s9__coteach_ml_fr0.3__loss1"] = f[np.argsort(g)[:count]].mean()
    gold["s9__coteach_ml_fr0.3__loss2"] = g[np.argsort(f)[:count]].mean()
    return gold | {"s9__jocor_ml_lam0.6_fr0.3__loss": np.sort(joint)[:count].mean()}


def memories() -> Golden:
    """Three steps of ELR on a memory of five rows."""
    rng, gold, memory = np.random.default_rng(2), {}, np.full((5, 3), 0.5)
    for step in range(3):
        logits, index = rng.normal(0, 2, (2, 3)), rng.permutation(5)[:2]
        targets = (rng.random((2, 3)) < 0.4) * 1.0
        for what, value in {"logits": logits, "index": index, "targets": targets}.items():
            gold[f"elrml_step{step}__{what}"] = value
        p = np.clip(1 / (1 + np.exp(-logits)), 1e-4, 1 - 1e-4)
        memory = memory.copy()
        memory[index] = 0.8 * memory[index] + 0.2 * p
        s = memory[index] * p + (1 - memory[index]) * (1 - p)
        gold[f"elrml_lam3.0_beta0.8__step{step}__loss"] = bce(logits, targets).mean() + 3 * np.log(1 - s).mean()
        gold[f"elrml_lam3.0_beta0.8__step{step}__target_after"] = memory
    return gold


@pytest.mark.parametrize("make", [small_losses, memories, lambda: small_losses() | memories()])
def test_losses_and_memories(make):
    gold = make()
    assert SHARED.matches(gold) and not CLS.matches(gold)
    results = compare(SHARED, gold)
    assert {name for name, _, _ in results} == {name for name in gold if not SHARED.inputs(name)}
    assert max(found for _, found, _ in results) < FLOAT32


def test_a_changed_input_is_seen_in_every_later_step():
    gold = memories()
    gold["elrml_step1__logits"] = gold["elrml_step1__logits"] + 0.1
    above = {name for name, found, _ in compare(SHARED, gold) if found > FLOAT32}
    assert {f"elrml_lam3.0_beta0.8__step{step}__target_after" for step in (1, 2)} <= above
    assert not any("step0" in name for name in above)


@pytest.mark.processes
def test_the_files_beside_the_checkout():
    """In a process of its own, which computes in float64."""
    paths = [str(GOLDEN / f"{name}.npz") for name in FILES if (GOLDEN / f"{name}.npz").exists()]
    if not paths:
        pytest.skip(f"{GOLDEN} has none of {', '.join(FILES)}")
    done = subprocess.run([sys.executable, "tests/replay.py", *paths], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count(": ok ") == len(paths), done.stdout + done.stderr
