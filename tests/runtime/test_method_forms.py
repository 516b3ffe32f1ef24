"""A method of one's own that gives what the trainer cannot work with is named before the first step."""

import jax.numpy as jnp
import numpy as np
import pytest

from ltpml_jax import train
from ltpml_jax.errors import UserError
from ltpml_jax.methods.all_methods import METHODS
from ltpml_jax.methods.base import Method
from ltpml_jax.runtime.metrics_log import step_record
from tests.helpers import runs, tiny
from tests.helpers.toys import remembering

pytestmark = pytest.mark.usefixtures("least_optimised")

RIGHT = remembering()


def updated(change) -> Method:
    """The toy with two tables, what its update gives changed."""
    return RIGHT._replace(update=lambda context, carry: change(*RIGHT.update(context, carry)))


def with_rows(change) -> Method:
    return updated(lambda shared, rows, metrics: (shared, change(rows), metrics))


CASES = {
    "an entry of METHODS": (METHODS["bce"], "is of type Entry; give a Method, as `make` of an entry"),
    "a bare pass": (RIGHT._replace(passes=RIGHT.passes[0]), "passes are .*; give a tuple of one Pass or more"),
    "no pass": (RIGHT._replace(passes=()), r"passes are \(\); give a tuple"),
    "a late first pass": (
        RIGHT._replace(passes=(RIGHT.passes[0]._replace(from_epoch=1),)),
        "first pass begins with epoch 1; it is in every step: 0",
    ),
    "no prediction": (RIGHT._replace(predictions={}), "no predictions; give one at least"),
    "a short table": (
        RIGHT._replace(init=lambda states, prior: ((), jnp.zeros((7, 20)))),
        r"init gave a table rows of float32\[7, 20\] for \d+ rows of states",
    ),
    "one row for all": (
        with_rows(lambda rows: rows._replace(average=rows.average[0])),
        r"update gave rows\.average as float32\[20\]; it was float32\[256, 20\] before",
    ),
    "a number for a row": (with_rows(lambda rows: rows._replace(visits=1)), r"rows\.visits as int32\[\]; it was"),
    "fractions among counts": (
        with_rows(lambda rows: rows._replace(visits=0.5 * rows.visits)),
        r"rows\.visits as float32\[256\]; it was int32\[256\] before",
    ),
    "another pytree": (with_rows(tuple), "update gave rows as another pytree: "),
    "another shared state": (
        updated(lambda shared, rows, metrics: (shared[None], rows, metrics)),
        r"update gave shared as int32\[1\]; it was int32\[\] before",
    ),
    "a taken name": (
        updated(lambda shared, rows, metrics: (shared, rows, {"step": 3.0})),
        "a metric 'step', which the records have; name it otherwise",
    ),
    "a taken loss": (
        updated(lambda shared, rows, metrics: (shared, rows, {"loss_pass1": 3.0})),
        "a metric 'loss_pass1', which the records have",
    ),
    "no metrics": (
        updated(lambda shared, rows, metrics: (shared, rows, None)),
        "metrics of type NoneType; give a dict",
    ),
    "an array of metrics": (
        updated(lambda shared, rows, metrics: (shared, rows, {"seen": rows.average})),
        r"metric 'seen' is an array \[256, 20\]; give a number, or a mask",
    ),
    "three logits": (
        RIGHT._replace(predictions={"three": lambda logits: logits[:, :3]}),
        r"prediction 'three' is float32\[256, 3\]; logits \[256, 20\] are needed",
    ),
    "one belief": (
        RIGHT._replace(beliefs=lambda shared, rows: rows.average),
        r"beliefs are float32\[\d+, 20\]; two arrays \[\d+, 20\] are needed, soft and hard",
    ),
}


@pytest.mark.parametrize(("method", "sentence"), CASES.values(), ids=CASES)
def test_what_is_wrong_is_named_before_a_step_is_recorded(method, sentence, tmp_path):
    with tiny.everywhere(), pytest.raises(UserError, match=f"^The method'?s? .*{sentence}"):
        train(runs.config(**runs.TINY, train__devices=1, optim__ema=0.9), tmp_path, method=method)
    records = tmp_path / "metrics.jsonl"
    assert not records.exists() or not records.read_text()


def test_numbers_and_masks_are_metrics():
    record = step_record(3, 0, {"a": np.array(2.0), "b": np.ones((8,), bool)}, b"\x01")
    assert record == {"step": 3, "epoch": 0, "batch": "01", "a": 2.0, "b": "ff"}
