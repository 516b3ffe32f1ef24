"""The layouts of COMIC, on files written out in numpy, and on the shipped ones where they are."""

from pathlib import Path

import jax
import numpy as np
import pytest

from tests.layouts.base import Golden, compare
from tests.layouts.comic import LAYOUTS
from tests.methods.test_comic_losses import slow_mfm
from tests.replay import judged, read

pytestmark = pytest.mark.usefixtures("least_optimised")

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "methods"
FILES = ("comic_losses_voc", "comic_classifier_attention")


class Constants:
    """The code's constants, as the reference reads them."""

    gamma_pos, weight_pos, weight_neg, clip, class_weight = 0.0, 0.0, 1.0, 0.05, True

    def __init__(self, gamma_neg: float, exponent: float):
        self.gamma_neg, self.exponent = gamma_neg, exponent


def losses_file() -> Golden:
    """Two sets of other sizes, an exponent of their own, and a corrector of three steps of which one is too early."""
    rng = np.random.default_rng(4)
    count, cooc = np.array([9, 30, 4, 17, 2]), rng.integers(1, 9, (5, 5)).astype(float)
    gold: Golden = {"distribution": count, "cooc_counts": cooc, "rlc_seq_epochs": np.array([0, 1, 1, 3])}
    gold["mfm_weight_pow1_4"] = (1 - np.log(count / 30)) ** 0.25
    for name, size in (("sa", 6), ("other", 3)):
        logits, y = rng.normal(0, 2, (size, 5)), (rng.random((size, 5)) < 0.4).astype(int)
        y[0] = 0
        share = y @ (cooc / cooc.sum(0))
        share = share / np.where(share.sum(1, keepdims=True) > 0, share.sum(1, keepdims=True), 1)
        plain = slow_mfm(logits, y, count, Constants(2.5, 1 / 6))
        prior = slow_mfm(logits, y, count, Constants(3.0, 1 / 3), share)
        hill = -((1 - p(logits - 1)) ** 2) * np.log(p(logits - 1)) * y + (1 - y) * (1.5 - p(logits)) * p(logits) ** 2
        sums = {"multigrained_gneg2.5": plain, "priorfocal_gneg3": prior, "comic_hill": hill}
        gold |= {f"{name}__logits": logits, f"{name}__targets": y}
        gold |= {f"{name}__{kind}__loss_f64": np.asarray(matrix.sum()) for kind, matrix in sums.items()}
    return gold | corrector(rng, count, gold["rlc_seq_epochs"])


def corrector(rng: np.random.Generator, count: np.ndarray, epochs: np.ndarray) -> Golden:
    gold, dynamic, last = {}, count.copy(), 0
    for number, epoch in enumerate(epochs):
        logits, y = rng.normal(0, 2, (7, 5)), (rng.random((7, 5)) < 0.4).astype(int)
        moved, loss = logits - y, 0.0
        if epoch >= 1:
            new = (p(moved) > 0.7) & (p(moved) > p(moved).mean(0)) & (y == 0)
            dynamic, last = (count.copy() if epoch > last else dynamic) + new.sum(0), epoch
            loss = 32 / (y + new).sum() * slow_mfm(moved, y + new, dynamic, Constants(3.0, 1 / 6)).sum()
        gold |= {f"rlc{number}__logits": logits, f"rlc{number}__targets": y}
        gold |= {f"rlc{number}__loss_f64": np.asarray(loss), f"rlc{number}__distribution_after_f64": dynamic}
    assert dynamic.sum() > count.sum()
    return gold


def network_file() -> Golden:
    """Three groups, and attention over 4 keys."""
    rng = np.random.default_rng(5)
    x, w, e, keys = rng.normal(size=(4, 6)), rng.normal(size=(3, 6)), rng.normal(size=6), rng.normal(size=(4, 4, 6))
    wq, wk, wv = rng.normal(size=(5, 6)), rng.normal(size=(5, 6)), rng.normal(size=(1, 5))
    gold: Golden = {"x": x, "weight": w, "embed": e, "v": rng.normal(size=(4, 3)), "attn__keys": keys}
    f, e, v = (unit(one.reshape(-1, 3, 2)) for one in (x, e, w))
    size = np.linalg.norm(w.reshape(-1, 3, 2), axis=-1, keepdims=True)
    tail = f + 2 * (f * e).sum(-1, keepdims=True) * e
    for name, direction in (("z", f), ("zmoving", tail)):
        gold[f"tail_nh3__{name}"] = 16 / 3 * np.einsum("bgd,cgd->bc", direction, v * size / (size + 1 / 32))
    score = np.exp(np.tanh((x @ wq.T)[:, None] + keys @ wk.T) @ wv[0])
    share = score / score.sum(1, keepdims=True)
    gold |= {"attn__Wq": wq, "attn__Wk": wk, "attn__wv": wv, "attn__weights": share[:, None]}
    gold |= {"attn__out": (share[..., None] * keys).sum(1), "embed_step0_feat": x, "embed_step1_feat": x + 1}
    return gold | {"embed_step0": x.mean(0), "embed_step1": 1.9 * x.mean(0) + 1}


def p(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


MADE = (losses_file, network_file)


@pytest.mark.parametrize("number", [0, 1])
def test_a_file_of_other_sets_is_replayed_and_a_changed_output_seen(number):
    gold, layout = MADE[number](), LAYOUTS[number]
    assert [one.matches(gold) for one in LAYOUTS] == [one is layout for one in LAYOUTS]
    outputs = [name for name in gold if not layout.inputs(name)]
    assert len(outputs) >= 6
    with jax.enable_x64(True):
        compared = compare(layout, gold)
        assert judged("file", compared)[0], compared
        assert {name for name, *_ in compared} == set(outputs)
        for name in outputs:
            wrong = gold | {name: gold[name] * (1 + 1e-3) + (gold[name] == 0)}
            above = [one for one, off, tolerance in compare(layout, wrong) if not off <= tolerance]
            assert above == [name]


def test_an_output_that_nothing_computes_is_named():
    with jax.enable_x64(True), pytest.raises(ValueError, match="nothing here computes its sa__other_f64"):
        compare(LAYOUTS[0], losses_file() | {"sa__other_f64": np.zeros(2)})


@pytest.mark.parametrize("name", FILES)
def test_the_shipped_file(name):
    if not GOLDEN.exists():
        pytest.skip(f"no golden files in {GOLDEN}")
    gold = read(str(GOLDEN / f"{name}.npz"))
    layout = next(layout for layout in LAYOUTS if layout.matches(gold))
    with jax.enable_x64(True):
        good, line = judged(name, compare(layout, gold))
    assert good, line
