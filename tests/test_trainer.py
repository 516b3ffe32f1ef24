"""Whole runs inside this process, on up to eight virtual devices."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ltpml_jax import experiment, photometric, trainer
from ltpml_jax.data import corruption, datasets, loader
from ltpml_jax.data.task import make_task
from ltpml_jax.errors import UserError
from ltpml_jax.evaluation import metrics
from ltpml_jax.evaluation.opened import open_run
from ltpml_jax.runtime import checkpoints
from ltpml_jax.state import make_mesh
from tests.helpers import runs, tiny, trees
from tests.helpers.same_runs import leaves

# What compiles fastest, for what depends neither on the method nor on the network.
PLAIN = {"method__name": "bce", "train__devices": 1}


def results(workdir: Path) -> dict:
    return json.loads((workdir / "results.json").read_text())


@pytest.mark.processes
def test_a_run_leaves_what_it_promises():
    workdir = runs.finished()
    names = {".lock", "config.json", "metrics.jsonl", "parameters.txt", "results.json", "checkpoints", "tensorboard"}
    names |= {"model.json", "predictions-test.npz", "thresholds.json"}
    assert {path.name for path in workdir.iterdir()} == names
    lines = runs.lines(workdir)
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 19))
    assert [line["epoch"] for line in steps] == [0] * 9 + [1] * 9
    assert all(len(line["batch"]) == 32 and len(line["reliable"]) == 64 for line in steps)
    assert len({line["batch"] for line in steps}) == 18
    assert any(b"loss" in path.read_bytes() for path in (workdir / "tensorboard").iterdir())


def test_images_below_the_networks_stride_are_warned_of(tmp_path, caplog):
    with tiny.everywhere(), caplog.at_level("INFO", "ltpml_jax"):
        run = trainer._prepare(runs.config(**runs.TINY | {"data__image_size": 15}), tmp_path, None)
        trainer.announce(run)
        trainer.announce(run._replace(config=runs.config(data__image_size=16)))
    small = [record.getMessage() for record in caplog.records if "smaller" in record.getMessage()]
    begin = "WARNING: images of 15 pixels a side are smaller than the stride of resnet_small, 16; raise config"
    assert [one[: len(begin)] for one in small] == [begin]


def test_epochs_with_the_same_passes_share_a_step(tmp_path):
    """NDLP has its second pass from the second epoch on; a supervised method one program for all."""
    with tiny.everywhere():
        ours, plain = (
            experiment.build_experiment(runs.config(**runs.TINY, **changes), tmp_path, make_mesh(jax.devices()), "none")
            for changes in ({}, PLAIN)
        )
    step_of = experiment.steps_by_epoch(ours)
    assert step_of(0) is not step_of(1) and step_of(1) is step_of(7) and step_of(0) is step_of(0)
    step_of = experiment.steps_by_epoch(plain)
    assert step_of(0) is step_of(1)


@pytest.mark.processes
def test_an_epoch_is_summed_up_over_all_its_steps():
    """Also over those before a checkpoint within the epoch."""
    lines = runs.lines(runs.finished())
    for epoch in (0, 1):
        losses = [line["loss"] for line in lines if line["epoch"] == epoch and "loss" in line]
        (summary,) = [line for line in lines if line["epoch"] == epoch and "epoch_loss" in line]
        assert summary["step"] == 9 * (epoch + 1) and len(losses) == 9
        assert summary["epoch_loss"] == pytest.approx(np.mean(losses), rel=1e-6)
        assert 0 < summary["validation_mAP"] < 100
    quality = results(runs.finished())["corrected_labels"]
    assert quality and {name: summary[name] for name in quality} == quality


@pytest.mark.processes
def test_the_number_of_devices_changes_nothing(tmp_path):
    """On a network that compiles quickly; test_processes.py has a real one."""
    assert jax.device_count() == 8
    runs.tiny_run(tmp_path, train__devices=1)
    mine, eight = runs.lines(tmp_path), runs.lines(runs.eight_devices())
    assert len(mine) == len(eight) == 20
    for line, expected in zip(mine, eight, strict=True):
        assert line.keys() == expected.keys()
        for name, value in line.items():
            if name.startswith(("loss", "epoch_loss")):
                assert value == pytest.approx(expected[name], rel=1e-5, abs=1e-9), (line["step"], name)
            elif name.endswith(("_mAP", "_AP", "_precision", "_recall")):
                assert value == pytest.approx(expected[name], abs=0.05)
            else:
                assert value == expected[name], (line["step"], name)
    for name, scores in results(tmp_path)["test"].items():
        assert scores == pytest.approx(results(runs.eight_devices())["test"][name], abs=0.1)


@pytest.mark.processes
def test_going_on_with_other_devices_and_threads_is_the_same_run(tmp_path):
    """From the checkpoint of step 16 of 18, on 2 devices where 8 began."""
    workdir = Path(shutil.copytree(runs.eight_devices(), tmp_path / "copy"))
    shutil.rmtree(workdir / "checkpoints" / "18")
    runs.tiny_run(workdir, train__devices=2, data__threads=1)
    mine, eight = runs.lines(workdir), runs.lines(runs.eight_devices())
    assert mine[:-3] == eight[:-3] and len(mine) == len(eight)
    for line, expected in zip(mine[-3:-1], eight[-3:-1], strict=True):
        assert (line["batch"], line["reliable"]) == (expected["batch"], expected["reliable"])
        assert line["loss"] == pytest.approx(expected["loss"], rel=1e-5)


def test_steps_that_are_not_finite_in_a_row_end_the_run_and_leave_what_they_were(tmp_path):
    """The first step breaks the parameters; the second is the first that is not finite."""
    changes = PLAIN | {"optim__learning_rate": 1e38, "data__validation": 0.0, "train__max_skipped": 3}
    with pytest.raises(
        UserError, match=r"Step 4 is the last of 3 in a row .*Lower config.optim.learning_rate.*not_finite"
    ):
        runs.tiny_run(tmp_path, **changes)
    lines = runs.lines(tmp_path)
    assert [line.get("not_applied", 0) for line in lines] == [0, 1, 2, 3] and lines[1]["loss"] is None
    assert list((tmp_path / "checkpoints").iterdir()) == []
    (dumped,) = (tmp_path / "not_finite").iterdir()
    assert dumped.name == "2"
    batch = json.loads((dumped / "batch" / "metadata").read_text())
    assert batch["batch"] == lines[1]["batch"] and batch["step"] == 2 and len(batch["index"]) == 256
    kept = leaves(dumped)
    assert int(kept["['step']"]) in (2, 3, 4)
    assert all(np.isfinite(leaf).all() for name, leaf in kept.items() if "params" in name)


@pytest.mark.processes
def test_a_single_step_that_is_not_finite_is_passed_over(tmp_path, monkeypatch):
    """The batch with the brightest images, turned to NaN."""
    config = runs.config(**PLAIN)
    iterator = loader.train_iterator(config, make_task(config), make_mesh(jax.devices()[:1]))
    means = [batch["image"].mean(dtype=np.float64) for batch in iterator]
    worst, bound = int(np.argmax(means)), np.mean(sorted(means)[-2:])
    plain = photometric.distort

    def poisoned(key, images, spec):
        return plain(key, images, spec) * jnp.where(images.mean() > bound, jnp.nan, 1.0)

    monkeypatch.setattr(photometric, "distort", poisoned)
    runs.tiny_run(tmp_path, **PLAIN)
    steps = [line for line in runs.lines(tmp_path) if "loss" in line]
    assert [line["step"] for line in steps if "not_applied" in line] == [worst + 1]
    assert all(line["epoch_loss"] > 0 for line in runs.lines(tmp_path) if "epoch_loss" in line)
    assert [folder.name for folder in (tmp_path / "not_finite").iterdir()] == [str(worst + 1)]


def own(workdir: Path, data: Path, **changes) -> None:
    """A run on a prepared dataset of 60 photographs."""
    small = {"data__batch_size": 8, "data__validation": 0.0, "train__epochs": 1, "data__sampler": "shuffle"}
    runs.tiny_run(workdir, **PLAIN | small | {"data__dir": str(data), "data__name": "mine"} | changes)


@pytest.mark.processes
def test_an_image_that_cannot_be_read_stops_the_run_or_is_passed_over_and_reported(tmp_path, capsys):
    data = trees.prepared(tmp_path, "mine", 5)
    trees.punch(data, "train/30.jpg")
    trees.punch(data, "test/7.jpg")
    with pytest.raises(UserError, match=r"(index|record) 30\b.*config.data.unreadable=skip"):
        own(tmp_path / "run", data)
    own(tmp_path / "run", data, data__unreadable="skip")  # the same run resumes
    bad = [line["unreadable"] for line in runs.lines(tmp_path / "run") if "unreadable" in line]
    assert bad == [[30]]
    table = capsys.readouterr().out
    assert "note: training images that could not be read (index 30) were replaced 1 times" in table
    assert "note: 1 test images cannot be read and are not counted" in table


def test_parameters_that_break_in_the_last_step_of_an_epoch_end_it_too(tmp_path):
    """One step an epoch: its loss is still finite, and what it leads to is not."""
    one = PLAIN | {"data__batch_size": 1080, "data__sampler": "shuffle"}
    with pytest.raises(UserError, match="outputs are not finite.*lower config.optim.learning_rate"):
        runs.tiny_run(tmp_path, **one, optim__learning_rate=3e38)


def test_a_device_without_enough_memory_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "loop", lambda *_: jnp.zeros(2**48).block_until_ready())
    with pytest.raises(UserError, match=r"too little memory \(RESOURCE_EXHAUSTED: .*Lower config.data.batch_size, "):
        runs.tiny_run(tmp_path, **PLAIN)
    monkeypatch.setattr(trainer, "loop", lambda *_: jax.pure_callback(lambda: 1 / 0, jnp.zeros(())))
    with pytest.raises(jax.errors.JaxRuntimeError, match="ZeroDivisionError"):
        runs.tiny_run(tmp_path, **PLAIN)


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"data__batch_size": 100}, "config.data.batch_size is 100 and does not divide among 8 devices"),
        ({"train__devices": 9}, "config.train.devices is 9, but this machine has 8; lower it"),
        ({"train__devices": 6}, "6 devices cannot share the run; set config.train.devices to 1, 2, 4"),
        ({"optim__drop_every": "head=2", "model__pretrained": "nowhere.safetensors"}, "drop_every is 'head=2', but"),
        ({"model__pretrained": "nowhere.safetensors"}, "nowhere.safetensors"),
        ({"data__name": "own", "model__pretrained": "nowhere.safetensors"}, "There is no dataset 'own' in "),
        ({"data__validation": 0.9999}, "leaves none of 1200 training images"),
        ({"data__batch_size": 8192}, "make it smaller"),
        ({"data__dir": __file__ + "/below"}, "name a writable folder"),
    ],
)
def test_what_cannot_work_is_refused_and_claims_no_folder(changes, message, tmp_path):
    with pytest.raises(UserError, match=message):
        trainer.train(runs.config(**changes), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.processes
def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    workdir = runs.copy_of_finished(tmp_path)
    path = workdir / "config.json"
    path.write_text(path.read_text().replace('\n  "seed": 0', '\n  "seed": 5'))  # not that of a section
    config = runs.config(seed=5)
    with pytest.raises(UserError, match=r"checkpoints/18 was saved with another config \(seed was 0, now 5\); put"):
        trainer.train(config, workdir)
    assert runs.lines(workdir) == runs.lines(runs.finished())  # nothing was cut off before that
    path.unlink()
    with pytest.raises(UserError, match="saved with another config"):
        trainer.train(config, workdir)
    assert not path.exists()  # so that the command of the run still resumes it


@pytest.mark.processes
def test_a_checkpoint_under_the_name_of_another_step_is_set_aside(tmp_path, caplog):
    """That of step 18, copied as if training had come to step 500."""
    workdir = Path(shutil.copytree(runs.eight_devices(), tmp_path / "copy"))
    shutil.copytree(workdir / "checkpoints" / "18", workdir / "checkpoints" / "500")
    runs.tiny_run(workdir, train__checkpoint_every=4)
    assert "checkpoints/500 cannot be read as a state of this run (it holds step 18)" in caplog.text
    assert results(workdir) == results(runs.eight_devices())


@pytest.mark.processes
def test_a_changed_config_is_not_taken_for_a_damaged_checkpoint(tmp_path):
    workdir = runs.copy_of_finished(tmp_path)
    path = workdir / "config.json"
    path.write_text(path.read_text().replace('"neck_width": 256', '"neck_width": 128'))
    sentence = (
        r"checkpoints/18 was saved with another config \(model.neck_width was 256, now 128\); put config.json back"
    )
    for opens in (lambda: trainer.train(runs.config(model__neck_width=128), workdir), lambda: open_run(workdir)):
        with pytest.raises(UserError, match=sentence):
            opens()
    assert len(list((workdir / "checkpoints").iterdir())) == len(list((runs.finished() / "checkpoints").iterdir()))


@pytest.mark.processes
def test_a_run_on_missing_positives_has_scores_by_those_that_are_left(tmp_path, capsys):
    changes = {"data__noise": "missing", "data__missing_rate": 0.4, "data__unknown": "unknown", "train__epochs": 1}
    runs.tiny_run(tmp_path, **PLAIN, **changes, data__partial_rate=0.0, data__validation=0.0)
    dataset, found = datasets.load("digits_mlt", str(runs.data_dir())), results(tmp_path)
    left = (corruption.missing(dataset.train.labels, 0.4, 0, False) == 1).sum(0)
    scores, by_class = found["test"]["last (epoch 1)"], found["class_AP"]["last (epoch 1)"]
    precision = np.array([by_class[name] for name in dataset.class_names])
    groups = {"many": left >= 100, "medium": (left >= 20) & (left < 100), "few": left < 20}
    means = {name: precision[mask].mean() for name, mask in groups.items()}
    assert means == pytest.approx({name: scores[f"mAP_left_{name}"] for name in means})
    assert scores["mAP_left_average"] == pytest.approx(np.mean(list(means.values())))
    assert f"few (below 20) {means['few']:.2f}, average" in capsys.readouterr().out


@pytest.mark.processes
def test_pseudo_labels_without_a_positive_are_warned_of(tmp_path, caplog):
    """NDLP's confidence in the one label of an image is 1, and so are the thresholds; not so with candidates."""
    data = trees.prepared(tmp_path, "mine", 5)
    single = {"data__noise": "single", "data__partial_rate": 0.0, "data__unknown": "unknown"}
    for name, changes, warned in (("single", single, 1), ("partial", {}, 0)):
        own(tmp_path / name, data, method__name="ndlp", train__epochs=2, **changes)
        assert caplog.text.count("no pseudo label is positive") == warned
        caplog.clear()


@pytest.mark.processes
def test_a_validation_score_is_the_mean_over_classes_that_occur(tmp_path):
    lines = [line for line in runs.lines(runs.finished()) if "validation_mAP" in line]
    with checkpoints.open_manager(runs.finished(), read_only=True) as manager:
        best = max(lines, key=lambda line: line[checkpoints.SCORE])
        assert manager.best_step() == best["step"]
    assert metrics.average_precision(np.zeros((2, 2)), np.array([[1, 0], [0, 0]]))[0] == 50.0
