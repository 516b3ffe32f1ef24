"""Golden files of the same layouts: small ones written from the definitions, and those beside the checkout."""

from pathlib import Path

import numpy as np
import pytest

from tests import replay
from tests.layouts.base import Golden, compare
from tests.layouts.published import LAYOUTS, number

METRICS, CORRUPTION = LAYOUTS
GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "methods"


def drawn() -> Golden:
    """Three generators at two rates each, in their own coding."""
    labels = (np.random.default_rng(3).random((12, 6)) < 0.3).astype(np.int64)
    gold: Golden = {"labels": labels}
    for rate in (0.1, 0.75):
        uniform = np.random.RandomState(0).uniform(0, 1, labels.shape)
        gold[f"hcp_keep_{rate}_seed0"] = np.where(uniform < rate, 2 * labels - 1, 0).astype(np.float64)
        candidates = ((uniform < rate) | (labels == 1)).astype(np.int64)
        gold |= {f"ndlp_candidates_q{rate}_npseed0": candidates, f"ndlp_input_mutated_q{rate}": candidates.copy()}
    rng = np.random.RandomState(7)
    gold["spml_single_pos_seed7"] = np.zeros_like(labels)
    for row, image in enumerate(labels):
        present, absent = np.nonzero(image == 1)[0], np.nonzero(image == 0)[0]
        rng.shuffle(present)
        rng.shuffle(absent)
        gold["spml_single_pos_seed7"][row, present[:1]] = 1
    return gold


def test_generators():
    gold = drawn()
    assert CORRUPTION.matches(gold) and not METRICS.matches(gold)
    results = compare(CORRUPTION, gold)
    assert len(results) == 7 and all(found <= tolerance for _, found, tolerance in results)


def test_whether_the_input_was_changed_may_be_a_flag():
    gold = drawn() | {"ndlp_input_mutated_q0.1": np.array(True)}
    assert all(found <= tolerance for _, found, tolerance in compare(CORRUPTION, gold))
    gold["ndlp_input_mutated_q0.1"] = np.array(False)
    assert [name for name, found, _ in compare(CORRUPTION, gold) if found] == ["ndlp_input_mutated_q0.1"]


@pytest.mark.parametrize("name", [name for name in drawn() if name != "labels"])
def test_one_changed_label_is_seen(name):
    gold = drawn()
    gold[name][3, 2] = 1 - gold[name][3, 2]
    assert [name for name, found, tolerance in compare(CORRUPTION, gold) if found > tolerance] == [name]


@pytest.mark.parametrize(("text", "rate"), [("0.3", 0.3), ("03", 0.3), ("005", 0.05), ("30", 0.3), ("1", 1), ("0", 0)])
def test_rates_in_names(text, rate):
    assert number(text) == rate


def test_measures_by_hand():
    """One class of three images, positives at ranks 1 and 3; logits that order them the other way round."""
    gold = {
        "m__targets": np.array([[1], [0], [1]]),
        "m__probs": np.array([[0.9], [0.6], [0.4]]),
        "m__logits": np.array([[-1.0], [0.5], [2.0]]),
        "m__train_counts": np.array([50]),
        "m__ap": np.array([(1 + 2 / 3) / (2 + 1e-8)]),
        "m__mAP": np.array(100 * (5 / 3) / (2 + 1e-8)),
        "m__mAP_total_many_medium_few": np.array([1, np.nan, 1, np.nan]) * 100 * (5 / 3) / (2 + 1e-8),
        "m__ap_mlgcn": np.array([5 / 6]),
        "m__OP_OR_OF1_CP_CR_CF1": np.full(6, 0.5),
    }
    assert METRICS.matches(gold) and not CORRUPTION.matches(gold)
    results = compare(METRICS, gold)
    assert len(results) == 5 and all(found <= tolerance for _, found, tolerance in results)
    gold["m__mAP_total_many_medium_few"][3] = 0
    assert [name for name, found, _ in compare(METRICS, gold) if found > 1e-9] == ["m__mAP_total_many_medium_few"]


@pytest.mark.parametrize("name", ["metrics", "corruption"])
def test_the_files_beside_the_checkout(name):
    path = GOLDEN / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    good, line = replay.verdict(str(path))
    assert good, line
