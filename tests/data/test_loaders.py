"""The batches of a run."""

import cv2
import jax
import numpy as np
import pytest

from ltpml_jax.data import augment, loader
from ltpml_jax.data.task import make_task
from ltpml_jax.state import make_mesh
from tests.helpers import runs


@pytest.fixture(scope="module")
def task():
    return make_task(runs.config())


MESH = make_mesh(jax.devices()[:1])


def test_a_subset_is_numbered_anew(task):
    subset = loader.Subset(task.dataset.train.records, np.array([7, 3]))
    assert len(subset) == 2
    assert [subset[row]["index"] for row in range(2)] == [0, 1]
    assert [subset[row]["id"] for row in range(2)] == ["train-00007", "train-00003"]


def test_training_batches_carry_the_served_labels_of_their_rows(task):
    batches = loader.train_iterator(runs.config(), task, MESH)
    for batch in [next(batches) for _ in range(2)]:
        assert batch["image"].shape == (256, 16, 16, 3)
        np.testing.assert_array_equal(batch["states"], task.served[batch["index"]])
    batches.close()


def test_training_images_are_those_of_the_training_rows():
    """Without augmentation, the image with index i is that of row train[i]: held-out images are never trained on."""
    jitterless = runs.config(data__min_crop=1.0, data__image_size=64, data__validation=0.5)
    task = make_task(jitterless)
    batches = loader.train_iterator(jitterless, task, MESH)
    batch = next(batches)
    batches.close()
    for index, image in zip(batch["index"][:20], batch["image"][:20], strict=True):
        record = task.dataset.train.records[int(task.train[index])]
        whole = cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        np.testing.assert_array_equal(image, augment.resize(whole, 64))


def test_a_run_has_all_its_batches(task):
    batches = loader.train_iterator(runs.config(), task, MESH)
    batches.set_state({"next_batch": 2 * task.steps_per_epoch - 1})
    assert len(list(batches)) == 1


def test_every_held_out_and_every_test_image_comes_once(task):
    config = runs.config()
    held = list(loader.validation_batches(config, task, MESH).parts)
    tests = list(loader.test_batches(config, task, make_mesh(jax.devices())).parts)
    assert [batch["mask"].sum() for batch in held] == [120] and len(held[0]["mask"]) == 190
    assert [batch["mask"].sum() for batch in tests] == [192] * 5 + [40]  # 190, rounded up for 8 devices
    images = np.concatenate([batch["image"][batch["mask"]] for batch in held])
    records = task.dataset.train.records
    expected = [augment.opencv(records[int(row)]["image"], augment.whole, 16) for row in task.validation]
    np.testing.assert_array_equal(images, expected)
