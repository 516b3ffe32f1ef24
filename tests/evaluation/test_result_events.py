"""The end of a run as TensorBoard events, read back by the framing and the schema of the format."""

import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score

from ltpml_jax.config import default_config, fields
from ltpml_jax.evaluation import result_events
from ltpml_jax.evaluation.result_events import Results
from tests.helpers import runs
from tests.runtime.test_metrics_log import events

GROUPS = {
    "head": np.array([True, True, False, False]),
    "medium": np.zeros(4, bool),
    "tail": np.array([False, False, True, True]),
}
NAN = float("nan")


def results(**changes) -> Results:
    draws = np.random.default_rng(0)
    states = (draws.random((50, 4)) < 0.4).astype(np.int8)
    states[:5, 0] = 3
    logits = (2 * states + draws.normal(size=states.shape)).astype(np.float32)
    logits[7] = NAN
    found = Results(
        step=12,
        fields={"seed": 3, "optim.rate": 0.5, "method.name": "bce", "on": True, "alpha": (0.4, 0.8), "file": None},
        scores={"mAP_total": 50.0, "mAP_medium": NAN},
        class_names=("a b", "a_b", "猫", "d"),
        precision=np.array([10.0, 20.0, 30.0, NAN]),
        logits=logits,
        states=states,
        groups=GROUPS,
    )
    return found._replace(**changes)


def written(workdir, found: Results) -> dict[str, tuple]:
    """(step, value) of every summary by tag, after checking that there is a single file and no folder."""
    result_events.write(workdir, found)
    (file,) = (workdir / "tensorboard").iterdir()
    return {value.tag: (event.step, value) for event in events(file) for value in event.summary.value}


def plugin(value) -> tuple[str, bytes]:
    return value.metadata.plugin_data.plugin_name, value.metadata.plugin_data.content


def test_scores_and_precision_of_classes_are_scalars(tmp_path):
    found = written(tmp_path, results())
    scalars = {
        tag: (step, value.simple_value) for tag, (step, value) in found.items() if tag.startswith(("test/", "test_AP"))
    }
    assert scalars == {
        "test/mAP_total": (12, 50.0),
        "test_AP/a_b_0": (12, 10.0),
        "test_AP/a_b_1": (12, 20.0),
        "test_AP/猫": (12, 30.0),
    }


def test_the_config_is_hparams_of_the_same_run(tmp_path):
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    found = written(tmp_path, results())
    name, content = plugin(found["_hparams_/session_start_info"][1])
    given = HParamsPluginData.FromString(content).session_start_info.hparams
    assert name == "hparams"
    assert {key: given[key].WhichOneof("kind") for key in given} == {
        "seed": "number_value",
        "optim.rate": "number_value",
        "method.name": "string_value",
        "on": "bool_value",
        "alpha": "string_value",
        "file": "string_value",
    }
    assert (given["seed"].number_value, given["alpha"].string_value, given["file"].string_value) == (
        3,
        "[0.4, 0.8]",
        "null",
    )
    experiment = HParamsPluginData.FromString(plugin(found["_hparams_/experiment"][1])[1]).experiment
    assert [info.name.tag for info in experiment.metric_infos] == ["test/mAP_total"]
    assert HParamsPluginData.FromString(plugin(found["_hparams_/session_end_info"][1])[1]).session_end_info.status == 1


def test_every_field_of_a_config_can_be_one(tmp_path):
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    own = fields(default_config())
    found = written(tmp_path, results(fields=own))
    content = plugin(found["_hparams_/session_start_info"][1])[1]
    assert set(HParamsPluginData.FromString(content).session_start_info.hparams) == set(own)


def test_curves_of_groups_are_over_their_known_labels(tmp_path):
    one = results()
    found = written(tmp_path, one)
    assert {tag for tag in found if tag.startswith("test_PR")} == {"test_PR/head", "test_PR/tail"}
    step, value = found["test_PR/head"]
    assert step == 12 and plugin(value)[0] == "pr_curves"
    table = np.array(value.tensor.float_val).reshape(6, -1)  # true and false positives, true and false negatives, ...
    keep = np.isfinite(one.logits[:, :2]) & (one.states[:, :2] <= 1)
    labels = one.states[:, :2][keep]
    scores = 1 / (1 + np.exp(-one.logits[:, :2][keep].astype(np.float64)))
    assert table[0, 0] + table[3, 0] == labels.sum() and table[:4, 0].sum() == len(labels) == 93
    middle = 63  # of 127 thresholds 0, 1/126, ..., 1
    said = scores >= 0.5
    assert table[4, middle] == pytest.approx(precision_score(labels, said), rel=1e-6)
    assert table[5, middle] == pytest.approx(recall_score(labels, said), rel=1e-6)


def test_the_same_end_written_twice_is_there_once(tmp_path):
    written(tmp_path, results())
    found = written(tmp_path, results(step=13))
    assert found["test/mAP_total"][0] == 13


@pytest.mark.processes
def test_a_run_has_one_folder_with_its_config_and_scores():
    folder = runs.finished() / "tensorboard"
    assert all(path.is_file() for path in folder.iterdir())
    (file,) = folder.glob("*.results")
    found = {value.tag: value for event in events(file) for value in event.summary.value}
    assert {"_hparams_/session_start_info", "test/mAP_total", "test_PR/tail", "test_AP/0_warm"} <= set(found)
