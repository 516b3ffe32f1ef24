import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tests import replay
from tests.methods.test_losses import COCO, VOC, plain_db_focal
from tests.methods.test_ndlp_functions import slow_select

pytestmark = pytest.mark.usefixtures("least_optimised")

ROOT = Path(__file__).resolve().parents[1]
COPIES = sorted(str(path) for path in (ROOT / "tests" / "golden").glob("*.npz"))
Golden = dict[str, np.ndarray]


def command(*paths: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "tests/replay.py", *paths], cwd=ROOT, capture_output=True, text=True)


def plain_step(seed: int, n: int, classes: int, batch: int, name: str) -> Golden:
    """A one-step file from the definition in plain numpy: float64, a batch with duplicates, no second pass."""
    rng = np.random.default_rng(seed)
    candidates = (rng.random((n, classes)) < 0.4).astype(np.int8)
    candidates[np.arange(n), rng.integers(0, classes, n)] = 1
    confidence = rng.random((n, classes)) * candidates
    confidence /= confidence.sum(1, keepdims=True)
    index, logits = rng.integers(0, n, batch), rng.normal(0, 3, (batch, classes))
    index[-1] = index[0]
    r, count = rng.dirichlet(np.ones(classes)), rng.integers(1, 400, classes)
    given = {"candidates": candidates, "confidence_in": confidence, "emp_dist_in": r, "batch_index": index}
    given |= {"logits": logits, "class_count": count, "train_size": 3 * n + 400, "gamma": 2.5, "alpha": 0.7}
    gold = {key: np.asarray(value) for key, value in (given | {"eta": 0.3, "mu": 0.2, "dataset": name}).items()}
    return gold | plain_outputs(gold, VOC if name == "voc" else COCO)


def plain_outputs(gold: Golden, db) -> Golden:
    index, r, table = gold["batch_index"], gold["emp_dist_in"], gold["confidence_in"]
    count, size = gold["class_count"], float(gold["train_size"])
    rows, candidates = table[index], gold["candidates"][index]
    phi = np.array([table[:, j].sum() / (table[:, j] != 0).sum() for j in range(table.shape[1])])
    sharp = rows ** gold["gamma"] / (rows ** gold["gamma"]).sum(1, keepdims=True)
    hard = (sharp > phi).astype(int)
    loss = plain_db_focal(gold["logits"], hard, count, size, db)
    biased = gold["logits"] - np.log(size / count - 1) * db.init_bias / db.neg_scale
    belief = np.exp(biased) * candidates
    belief /= belief.sum(1, keepdims=True)
    after = table.copy()
    for position, row in enumerate(index):
        after[row] = (1 - gold["mu"]) * table[row] + gold["mu"] * belief[position]
    share = rows.sum(0) / rows.sum()
    ratio = r / (np.where(share == 0, r, share) + 1e-8)
    out = {"phi": phi, "sharp": sharp, "pseudo": hard, "loss": loss, "loss_mean": loss.mean(), "pred_adj": belief}
    out |= {"emp_dist": ratio / ratio.sum(), "confidence": after, "total": loss.mean()}
    out["chosen"] = slow_select(loss.mean(1), hard, r, gold["alpha"])
    return {f"out_{key}": np.asarray(value) for key, value in out.items()}


def save(folder: Path, name: str, gold: Golden) -> str:
    np.savez(folder / name, **gold)  # pyright: ignore[reportArgumentType]
    return str(folder / name)


def verdict(path: str) -> tuple[bool, str]:
    with jax.enable_x64(True):
        return replay.verdict(path)


@pytest.mark.processes
def test_the_golden_files():
    done = command(*COPIES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(COPIES) == 4 and [line.split(": ok ")[0] for line in done.stdout.splitlines()] == COPIES


@pytest.mark.processes
def test_tampered_missing_and_damaged_files_fail_and_hide_no_other(tmp_path):
    gold = plain_step(0, 30, 4, 6, "coco")
    good = save(tmp_path, "good.npz", gold)
    bad = save(tmp_path, "bad.npz", gold | {"out_confidence": gold["out_confidence"] * (1 + 2e-5)})
    (tmp_path / "damaged.npz").write_bytes(Path(good).read_bytes()[:3000])
    done = command(bad, str(tmp_path / "none.npz"), str(tmp_path / "damaged.npz"), good)
    lines = done.stdout.splitlines()
    assert done.returncode == 1 and len(lines) == 4 and "Traceback" not in done.stderr
    assert "bad.npz: ABOVE TOLERANCE" in lines[0] and "out_confidence=2.0e-05" in lines[0]
    assert "none.npz: NOT REPLAYED" in lines[1] and "damaged.npz: NOT REPLAYED" in lines[2]
    assert "good.npz: ok" in lines[3]


def test_without_files_it_says_how_to_call_it(capsys):
    assert replay.main([]) == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize(("n", "classes", "batch", "name"), [(60, 7, 24, "voc"), (25, 3, 5, "coco")])
def test_files_of_other_sizes_made_from_the_definition(tmp_path, n, classes, batch, name):
    gold = plain_step(1, n, classes, batch, name)
    good, line = verdict(save(tmp_path, "file.npz", gold))
    assert good and line.count("out_") == 10, line


@pytest.mark.parametrize("name", ["out_pseudo", "out_chosen", "out_loss", "out_emp_dist"])
def test_one_changed_element_is_seen(tmp_path, name):
    gold = plain_step(2, 40, 5, 8, "voc")
    changed = gold[name].astype(float)
    changed.flat[0] = 1 - changed.flat[0]
    good, line = verdict(save(tmp_path, "file.npz", gold | {name: changed}))
    assert not good and "ABOVE" in line
    changed.flat[0] = np.nan
    assert not verdict(save(tmp_path, "file.npz", gold | {name: changed}))[0]


def test_an_empty_reliable_set(tmp_path):
    """Uniform confidence over all classes: nothing exceeds its threshold, and there is nothing to mix."""
    gold = plain_step(3, 16, 4, 4, "voc")
    gold |= {"candidates": np.ones((16, 4), np.int8), "confidence_in": np.full((16, 4), 0.25)}
    gold |= plain_outputs(gold, VOC)
    assert not gold["out_chosen"].any() and not gold["out_pseudo"].any()
    nothing = np.zeros(0, int)
    mix = {"mix_chosen": nothing, "mix_perm": nothing, "mix_lambda": np.array(0.6), "mix_logits": np.zeros((0, 4))}
    good, line = verdict(save(tmp_path, "file.npz", gold | mix))
    assert good and "mix_chosen=0.0e+00" in line and "out_total" in line, line


def test_any_subset_of_the_outputs(tmp_path):
    with np.load(COPIES[1]) as archive:
        gold = dict(archive)
    some = {name: value for name, value in gold.items() if not name.startswith("out_")}
    good, line = verdict(save(tmp_path, "file.npz", some | {"out_mix_loss": gold["out_mix_loss"]}))
    assert good and line.count("=") == 2, line  # and mix_chosen


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"out_other": np.zeros(3)}, "nothing here computes its out_other"),
        ({"dataset": np.array("nus")}, "'nus'.*voc, coco"),
        ({"logits": None}, "lacks the array 'logits'"),
    ],
)
def test_what_cannot_be_replayed_is_named(tmp_path, change, message):
    gold = {k: v for k, v in (plain_step(4, 20, 3, 4, "voc") | change).items() if v is not None}
    good, line = verdict(save(tmp_path, "file.npz", gold))
    assert not good
    assert re.search(message, line), line


def test_a_file_without_outputs_is_not_a_pass(tmp_path):
    good, line = verdict(save(tmp_path, "file.npz", {"dataset": np.array("voc")}))
    assert not good and "no out_* array" in line
