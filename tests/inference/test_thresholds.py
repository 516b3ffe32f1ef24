"""Thresholds by class that a user names, and what is refused."""

import json

import numpy as np
import pytest

from ltpml_jax.errors import UserError
from ltpml_jax.evaluation import expected_thresholds
from ltpml_jax.inference import thresholds

NAMES = tuple("abcdef")


def test_thresholds_of_a_run_are_those_of_its_checkpoint(tmp_path):
    values = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    expected_thresholds.save(tmp_path, NAMES, values, 10, "120 held-out images")
    found = thresholds.decide("expected", NAMES, tmp_path, 10)
    np.testing.assert_array_equal(found.thresholds, values)
    with pytest.raises(UserError, match="are those of step 10, and the checkpoint is of step 9; give --threshold=0.5"):
        thresholds.decide("expected", NAMES, tmp_path, 9)
    with pytest.raises(UserError, match="In the thresholds .*/thresholds.json, 'g' is missing"):
        thresholds.decide("expected", (*NAMES, "g"), tmp_path, 10)


def test_a_number_and_a_file(tmp_path):
    decision = thresholds.decide("0.25", NAMES, tmp_path, 0)
    assert decision.labels(np.array([0.2, 0.25, 0.26, 1, 0, 0.5])) == ["c", "d", "f"]
    values = dict(zip(NAMES, [0.1, 0.2, 0.3, 0.4, 0.5, 1], strict=True))
    (tmp_path / "t.json").write_text(json.dumps(values))
    found = thresholds.decide(str(tmp_path / "t.json"), NAMES, tmp_path, 0)
    assert found.thresholds.tolist() == list(values.values())


WRONG = [
    ("[]", "are no JSON object"),
    ("{", "cannot be read"),
    ('{"a": 0.5}', "'b' is missing"),
    (json.dumps(dict.fromkeys("abcdefg", 0.5)), "'g' is no class of the run"),
    (json.dumps(dict.fromkeys("abcdef", "x")), "hold something else than numbers"),
    (json.dumps(dict.fromkeys("abcdef", 10**400)), "hold something else than numbers"),
    (json.dumps(dict.fromkeys("abcdef", 2)), "holds the threshold 2; scores lie in"),
]


@pytest.mark.parametrize(("text", "sentence"), WRONG)
def test_what_is_no_threshold_is_one_sentence(tmp_path, text, sentence):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(UserError, match=sentence):
        thresholds.decide(str(tmp_path / "t.json"), NAMES, tmp_path, 0)


@pytest.mark.parametrize("text", ["1.5", "nan", "-0.1", "no such file"])
def test_numbers_outside_and_missing_files_are_refused(tmp_path, text):
    with pytest.raises(UserError, match=r"--threshold holds the threshold|The thresholds no such file cannot be read"):
        thresholds.decide(text, NAMES, tmp_path, 0)


def test_thresholds_of_a_device_are_refused_at_once(tmp_path):
    with pytest.raises(UserError, match="The thresholds /dev/zero cannot be read .*no regular file"):
        thresholds.decide("/dev/zero", NAMES, tmp_path, 0)
