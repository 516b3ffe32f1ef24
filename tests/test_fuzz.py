"""The readers under mutated inputs: a short run of tests/fuzz.py, and that its inputs are sound to begin with."""

import random
import time

import pytest

from ltpml_jax.errors import UserError
from tests import fuzz
from tests.helpers import readers


def test_every_reader_takes_its_own_input(tmp_path):
    for reader in readers.make(tmp_path):
        reader.read(random.Random(1))


def test_mutated_inputs_are_read_or_refused(tmp_path):
    endings = fuzz.run(400, 1_000_000, tmp_path)
    assert fuzz.failures(endings) == []
    counts = [sum(one.what == what for one in endings) for what in (fuzz.READ, fuzz.REFUSED)]
    assert min(counts) > 40, counts  # neither all inputs nor none are broken


def test_the_same_seed_makes_the_same_input():
    made = [fuzz.mutated(b'{"a": [1, 2]}', random.Random(seed)) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


def _wait():
    time.sleep(60)


def _lines():
    raise UserError("one\ntwo")


def _refuse():
    raise UserError("one")


@pytest.mark.parametrize(
    ("action", "what"),
    [
        (list, fuzz.READ),
        (_refuse, fuzz.REFUSED),
        (_lines, "a sentence of several lines: one"),
        (lambda: {}["x"], "KeyError: 'x'"),
        (lambda: exit(0), "SystemExit: 0"),
        (_wait, "TimeoutError: not done after 0.05 s"),
    ],
)
def test_other_endings_are_failures(monkeypatch, action, what):
    monkeypatch.setattr(fuzz, "LIMIT", 0.05)
    assert fuzz.outcome(action).startswith(what)
