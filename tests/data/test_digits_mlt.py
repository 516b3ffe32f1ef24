"""The two datasets: label counts, groups, co-occurrence, separation of the splits."""

import cv2
import numpy as np
import pytest

from ltpml_jax.data import digits_mlt, scenes
from ltpml_jax.data.digits_mlt import EMBEDDED, SEED
from ltpml_jax.data.labels import class_groups

DIGITS_MLT, DIGITS_IDENTITY = EMBEDDED["digits_mlt"], EMBEDDED["digits_identity"]


def _labels(dataset: digits_mlt.Embedded, split: str) -> np.ndarray:
    return digits_mlt.draw_labels(dataset.plans[split], len(dataset.classes), SEED)


def test_train_is_long_tailed():
    labels = _labels(DIGITS_MLT, "train")
    counts = labels.sum(0, dtype=np.int64)
    assert labels.shape == (1200, 20) and counts.max() > 500 and counts.min() < 10
    assert 2.0 <= labels.sum() / 1200 <= 2.2
    assert set(labels.sum(1)) == {1, 2, 3, 4}
    assert [int(mask.sum()) for mask in class_groups(counts).values()] == [7, 6, 7]


def test_tail_images_mostly_hold_a_head_class():
    labels = _labels(DIGITS_MLT, "train")
    groups = class_groups(labels.sum(0, dtype=np.int64))
    tail_images = labels[labels[:, groups["tail"]].any(1)]
    assert tail_images[:, groups["head"]].any(1).mean() > 0.5


@pytest.mark.parametrize(
    ("dataset", "split", "shape", "positives", "largest"),
    [
        (DIGITS_MLT, "test", (1000, 20), 102, 4),
        (DIGITS_IDENTITY, "train", (4000, 10), 800, 3),
        (DIGITS_IDENTITY, "test", (500, 10), 100, 3),
    ],
)
def test_other_splits_are_balanced(dataset, split, shape, positives, largest):
    labels = _labels(dataset, split)
    assert labels.shape == shape
    np.testing.assert_array_equal(labels.sum(0, dtype=np.int64), positives)
    assert set(labels.sum(1)) == set(range(1, largest + 1))


def test_every_split_has_its_own_part_and_stream():
    plans = [plan for dataset in EMBEDDED.values() for plan in dataset.plans.values()]
    assert len({plan.part for plan in plans}) == len({plan.stream for plan in plans}) == 4
    assert {plan.part for plan in plans} == set(scenes.PARTS)


def test_class_names():
    assert [spec.name for spec in DIGITS_MLT.classes[6:8]] == ["3_warm", "3_cool"]
    assert all(spec.digit == i // 2 for i, spec in enumerate(DIGITS_MLT.classes))
    assert [spec.name for spec in DIGITS_IDENTITY.classes] == list("0123456789")


def test_drawn_material_of_the_splits_is_disjoint():
    used: dict[str, set[int]] = {}
    for dataset in EMBEDDED.values():
        for plan in dataset.plans.values():
            short = plan._replace(images=60, first=12, last=12, shares=(0.5, 0.5))
            drawn = [scene for _, scene in digits_mlt.draw_scenes(short, dataset.classes[:8], SEED)]
            used[plan.part] = {digit.row for scene in drawn for digit in scene.objects}
    assert all(len(rows) > 20 for rows in used.values())
    assert len(set.union(*used.values())) == sum(map(len, used.values()))


def test_png_is_lossless():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    decoded = cv2.imdecode(np.frombuffer(digits_mlt.encode_png(image), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    np.testing.assert_array_equal(decoded[..., ::-1], image)
