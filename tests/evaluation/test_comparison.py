"""Runs compared: which form a group, what their scores are, what is refused, what a reader is warned of."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ltpml_jax.errors import UserError
from ltpml_jax.evaluation import bootstrap, comparison, metrics, predictions_file
from tests.helpers import workdirs

STATES = workdirs.labels(300)
MASKS = {name: np.isin(np.arange(6), classes) for name, classes in workdirs.GROUPS.items()}


def seeds(number: int) -> dict:
    return {"seed": number, "data.candidate_seed": number}


def run(folder: Path, method: str, seed: int, skill: float, **more) -> Path:
    """One run; its logits depend on all of these."""
    logits = workdirs.guesses(STATES, skill, 10 * seed + len(method))
    fields = {"method.name": method, **seeds(seed), **more.pop("fields", {})}
    return workdirs.write(folder / f"{method}{seed}", STATES, logits, fields, **more)


@pytest.fixture
def six(tmp_path) -> list[Path]:
    """Three seeds of a better and of a worse method."""
    return [run(tmp_path, name, seed, skill) for name, skill in (("bce", 1.0), ("ndlp", 2.0)) for seed in (0, 1, 2)]


def test_runs_that_differ_in_seeds_form_a_group_and_the_best_comes_first(six):
    found = comparison.compare(six, draws=200)
    assert [(one.label, len(one.runs)) for one in found.groups] == [("ndlp", 3), ("bce", 3)]
    assert found.by == ("method.name",) and found.images == 300 and found.notes == ()
    for one in found.groups:
        for member, scores in zip(one.runs, one.scores, strict=True):
            own = metrics.scores(comparison.headline(member), STATES, MASKS)
            assert scores.tolist() == [own[f"mAP_{name}"] for name in bootstrap.SCORES]
    (pair,) = found.pairs
    means = [one.scores.mean(0) for one in found.groups]
    assert (pair.first, pair.second) == ("ndlp", "bce")
    for k, (one, corrected) in enumerate(zip(pair.differences, pair.corrected, strict=True)):
        assert one.value == pytest.approx(means[0][k] - means[1][k]) and one.low < one.value < one.high
        assert corrected >= one.p
    assert pair.differences[0].low > 0 and pair.corrected[0] < 0.01


def test_groups_that_say_the_same_differ_by_nothing(tmp_path):
    paths = [
        workdirs.write(tmp_path / name, STATES, workdirs.guesses(STATES, 1.0, 0), {"method.name": name})
        for name in ("bce", "ndlp")
    ]
    (pair,) = comparison.compare(paths, draws=50).pairs
    assert pair.differences == ((0.0, 0.0, 0.0, 1.0),) * 4 and pair.corrected == (1.0,) * 4


def test_pairing_makes_a_difference_precise(tmp_path):
    """Two runs whose noise is nearly the same, against two whose noise is their own."""
    logits = workdirs.guesses(STATES, 1.0, 0)
    near = logits + 0.1 * workdirs.guesses(STATES, 0.0, 5)
    paths = [
        workdirs.write(tmp_path / "bce", STATES, logits, {"method.name": "bce"}),
        workdirs.write(tmp_path / "ndlp", STATES, near, {"method.name": "ndlp"}),
        workdirs.write(tmp_path / "db", STATES, workdirs.guesses(STATES, 1.0, 9), {"method.name": "db_focal"}),
    ]
    widths = {
        frozenset((pair.first, pair.second)): pair.differences[0].high - pair.differences[0].low
        for pair in comparison.compare(paths, draws=200).pairs
    }
    assert 3 * widths[frozenset(("bce", "ndlp"))] < widths[frozenset(("bce", "db_focal"))]


def test_labels_name_what_tells_groups_apart_and_a_note_the_rest(tmp_path):
    rates = {"bce": 0.01, "ndlp": 0.03}
    paths = [run(tmp_path, name, 0, 1.0, fields={"optim.learning_rate": rate, "data.workers": int(100 * rate)})
             for name, rate in rates.items()]  # fmt: skip
    found = comparison.compare(paths, draws=20)
    assert found.by == ("method.name",) and "the groups also differ in optim.learning_rate" in found.notes
    assert any(note.startswith("fewer than 3 seeds") for note in found.notes)
    paths.append(run(tmp_path / "more", "bce", 0, 1.0, fields={"optim.learning_rate": 0.1}))
    found = comparison.compare(paths, draws=20)
    assert found.by == ("method.name", "optim.learning_rate")
    assert {one.label for one in found.groups} == {"bce, 0.01", "bce, 0.1", "ndlp, 0.03"}
    found = comparison.compare(paths, ["method.name"], draws=20)
    assert {one.label: len(one.runs) for one in found.groups} == {"bce": 2, "ndlp": 1}
    assert "runs of one group differ in optim.learning_rate too" in found.notes
    assert "a group has two runs with one seed, which count as two" in found.notes


def test_one_group_alone_has_scores_and_no_pairs(six):
    found = comparison.compare(six[:3], draws=20)
    assert [one.label for one in found.groups] == ["bce"] and found.pairs == () and found.by == ("method.name",)


def test_a_run_that_is_named_twice_counts_once(six):
    assert len(comparison.compare([six[0], six[0] / ".." / six[0].name], draws=20).groups[0].runs) == 1


def test_many_groups_are_compared_with_the_best_only(tmp_path):
    paths = [run(tmp_path, "bce", k, 1.0 + k / 4, fields={"optim.learning_rate": 0.1 + k}) for k in range(5)]
    pairs = comparison.compare(paths[:4], draws=20).pairs
    assert len(pairs) == 6
    pairs = comparison.compare(paths, draws=20).pairs
    assert len(pairs) == 4 and {pair.first for pair in pairs} == {"4.1"}


def test_candidate_sets_of_files_group_by_how_they_were_made(tmp_path):
    paths = []
    for seed, rate in ((0, 0.4), (1, 0.4), (0, 0.6)):
        model = {"candidates": {"kind": "missing", "parameters": {"rate": rate}, "seed": seed}}
        fields = {"data.candidates": f"/tables/{seed}-{rate}.safetensors"}
        paths.append(run(tmp_path / str(rate), "bce", seed, 1.0, fields=fields, model=model))
    found = comparison.compare(paths, draws=20)
    assert {one.label: len(one.runs) for one in found.groups} == {
        'missing {"rate": 0.4}': 2, 'missing {"rate": 0.6}': 1
    }  # fmt: skip


def test_conditions_are_compared_by_themselves(tmp_path):
    paths = [run(tmp_path / str(rate), name, 0, 1.0, fields={"data.partial_rate": rate})
             for rate in (0.3, 0.5) for name in ("bce", "ndlp")]  # fmt: skip
    assert comparison.partition(paths, ["data.partial_rate"]) == {
        "data.partial_rate = 0.3": paths[:2],
        "data.partial_rate = 0.5": paths[2:],
    }
    assert comparison.partition(paths, []) == {"": paths}
    with pytest.raises(UserError, match="There is no config field 'data.rate'"):
        comparison.partition(paths, ["data.rate"])


def other(folder: Path, **changes) -> Path:
    """A run that differs in its labels, ids or model."""
    states = changes.pop("states", STATES)
    return workdirs.write(
        folder / "other", states, workdirs.guesses(states, 1.0, 3), {"method.name": "ndlp"}, **changes
    )


def swapped() -> np.ndarray:
    states = STATES.copy()
    states[0, 0] = 1 - states[0, 0]
    return states


REFUSED = [
    ({"ids": [f"{row}.jpg" for row in reversed(range(300))]}, "other test images, or the same in another order"),
    ({"states": STATES[:200]}, "other test images, or the same in another order"),
    ({"states": swapped()}, "other labels of their test images"),
    ({"model": {"class_names": list("abcdeg")}}, "other classes"),
]


@pytest.mark.parametrize(("changes", "what"), REFUSED)
def test_runs_of_another_test_split_are_refused(tmp_path, changes, what):
    first, second = run(tmp_path, "bce", 0, 1.0), other(tmp_path, **changes)
    with pytest.raises(
        UserError, match=rf"^The runs {first} and {second} have {what}; compare runs of one test split.$"
    ):
        comparison.compare([first, second])


def test_classes_that_training_labels_put_into_other_groups_stay_where_the_first_run_has_them(tmp_path):
    """A run on corrected labels, beside the one that was audited."""
    first = run(tmp_path, "bce", 0, 1.0)
    second = other(tmp_path, model={"groups": {"head": [0], "medium": [1, 2, 3], "tail": [4, 5]}})
    found = comparison.compare([first, second])
    sentence = f"head, medium and tail classes are those of {first}; the training labels of {second} make others"
    assert found.notes.count(sentence) == 1
    logits = comparison.headline(comparison.load(second))
    (scores,) = [one.scores for one in found.groups if one.runs[0].workdir == second]
    np.testing.assert_allclose(scores[0], comparison.observed_scores(logits, STATES, MASKS))
    assert not comparison.regrouped([comparison.load(first)] * 2)


def test_what_is_no_finished_run_is_named(tmp_path, six):
    with pytest.raises(UserError, match=f"There is no run in {tmp_path}/none"):
        comparison.compare([tmp_path / "none"])
    with pytest.raises(UserError, match="There is no finished run to compare"):
        comparison.compare([])
    with pytest.raises(UserError, match="There is no config field 'method.nam'; did you mean 'method.name'"):
        comparison.compare(six, ["method.nam"])
    path = six[1] / "config.json"
    whole = path.read_text()
    for content, what in (('{"data": 3}', "The config has no field"), (None, "config.data.batch_size is .*type int")):
        damaged = json.loads(whole)
        damaged["data"]["batch_size"] = []
        path.write_text(content or json.dumps(damaged))
        with pytest.raises(UserError, match=rf"{path} is damaged: {what}"):
            comparison.compare(six)
    path.write_text(whole)
    (six[0] / "predictions-test.npz").unlink()
    with pytest.raises(UserError, match=f"There is no predictions-test.npz in {six[0]}; finish its run, or make it"):
        comparison.compare(six)


def test_images_that_one_run_could_not_read_are_left_out_for_all(tmp_path, six):
    found = predictions_file.load(six[0])
    found.logits["network"][[3, 7]] = np.nan
    predictions_file.save(six[0], found)
    compared = comparison.compare(six, draws=20)
    assert compared.images == 298
    assert "2 test images that a run could not read are left out for all runs" in compared.notes
    kept = np.delete(np.arange(300), [3, 7])
    own = metrics.scores(comparison.headline(compared.groups[0].runs[0])[kept], STATES[kept], MASKS)
    assert compared.groups[0].scores[0, 0] == own["mAP_total"]


def test_budgets_come_from_the_runs_own_records(tmp_path, six):
    lines = [json.dumps({"step": step, "loss": 1.0, "loss_pass1": 0.5, "loss_pass2": 0.5}) for step in (1, 2)]
    (six[3] / "metrics.jsonl").write_text("\n".join([*lines, json.dumps({"step": 2, "epoch_loss": 1.0})]) + "\n")
    assert comparison.load(six[3]).budget == (10, 320, 100, 2)
    assert comparison.load(six[2]).budget == (10, 320, 100, 1)
    (six[4] / "metrics.jsonl").unlink()
    assert np.isnan(comparison.load(six[4]).budget.passes)
    assert "budgets differ, or are not known" in comparison.compare(six, draws=20).notes


def test_seeds_that_do_not_match_are_named(tmp_path, six):
    note = "the groups were trained with other seeds, so that chance sets them further apart"
    assert note in comparison.compare(six[:5], draws=20).notes
    shutil.rmtree(six[5])
    six[5] = run(tmp_path, "ndlp", 5, 2.0)
    assert note in comparison.compare(six, draws=20).notes
