"""Scene composition: disjoint material, prescribed counts, boxes, colours, determinism."""

import itertools

import cv2
import numpy as np
import pytest

from ltpml_jax.data import scenes

SEED = 7


@pytest.fixture(scope="module")
def world() -> scenes.World:
    return scenes.load_world()


@pytest.fixture(scope="module")
def parts(world: scenes.World) -> dict[str, scenes.WorldPart]:
    return scenes.partition(world, SEED)


def _labels(classes: int, *present: int) -> np.ndarray:
    labels = np.zeros(classes, np.int8)
    labels[list(present)] = 1
    return labels


def _scenes(world, part, classes, sets):
    for i, present in enumerate(sets):
        labels = _labels(len(classes), *present)
        yield scenes.compose(world, part, classes, labels, scenes.generator(SEED, 1, i + 1))


def test_parts_share_no_handwriting_and_no_photo_column(world, parts):
    rows = np.concatenate([part.rows for part in parts.values()])
    assert sorted(rows) == list(range(1797))
    bands = sorted(part.columns for part in parts.values())
    assert bands[0][0] == 0 and bands[-1][1] == 640
    assert all(left[1] == right[0] for left, right in itertools.pairwise(bands))
    for name, share in scenes.PARTS.items():
        own = np.bincount(world.digits[parts[name].rows], minlength=10) / np.bincount(world.digits)
        np.testing.assert_allclose(own, share, atol=0.01)


def test_partition_follows_the_seed(world, parts):
    again, other = scenes.partition(world, SEED), scenes.partition(world, SEED + 1)
    assert all(np.array_equal(again[k].rows, parts[k].rows) for k in parts)
    assert not np.array_equal(other["train"].rows, parts["train"].rows)


def test_scene_uses_its_part_only_and_shows_its_labels(world, parts):
    classes, part = scenes.COLOUR_CLASSES, parts["test"]
    sets = [(i % 20, (i + 3) % 20, (i + 7) % 20, (i + 8) % 20)[: 1 + i % 4] for i in range(60)]
    for present, scene in zip(sets, _scenes(world, part, classes, sets), strict=True):
        assert scene.image.shape == (64, 64, 3) and scene.image.dtype == np.uint8
        assert [o.label for o in scene.objects] == sorted(present)
        x, y, side = scene.crop
        assert part.columns[0] <= x and x + side <= part.columns[1] and y >= 0 and y + side <= 427
        for drawn in scene.objects:
            assert drawn.row in part.rows and world.digits[drawn.row] == classes[drawn.label].digit
            assert classes[drawn.label].hues[0] <= drawn.hue <= classes[drawn.label].hues[1]
            left, top, box = drawn.box
            assert 18 <= box <= 28 and min(left, top) >= 0 and max(left, top) + box <= 64


def test_pixels_outside_the_boxes_are_the_dimmed_photo(world, parts):
    (scene,) = _scenes(world, parts["train"], scenes.COLOUR_CLASSES, [(4, 9)])
    x, y, side = scene.crop
    square = world.photos[scene.photo][y : y + side, x : x + side]
    square = cv2.resize(square, (64, 64), interpolation=cv2.INTER_AREA).astype(float)
    outside = np.ones((64, 64), bool)
    for left, top, box in (drawn.box for drawn in scene.objects):
        outside[top : top + box, left : left + box] = False
    ratio = scene.image[outside].sum() / square[outside].sum()
    assert 0.59 < ratio < 0.91
    np.testing.assert_allclose(scene.image[outside], square[outside] * ratio, atol=1.5)


def test_painted_pixels_have_the_hue_of_their_family(world, parts):
    classes = scenes.COLOUR_CLASSES
    for scene in _scenes(world, parts["train"], classes, [(i,) for i in range(20)]):
        (drawn,) = scene.objects
        x, y, side = drawn.box
        hsv = cv2.cvtColor(scene.image[y : y + side, x : x + side], cv2.COLOR_RGB2HSV)
        vivid = hsv[(hsv[..., 1] > 170) & (hsv[..., 2] > 200)]
        near = np.abs((vivid[:, 0] * 2.0 - drawn.hue + 180) % 360 - 180) < 8
        # A stroke covers at least 5% of its box, and strong colours of the photo are the exception.
        assert near.sum() > 0.05 * side**2 and near.mean() > 0.6


def test_families_stay_apart_after_hue_jitter():
    (warm_low, warm_high), (cool_low, cool_high) = scenes.FAMILIES["warm"], scenes.FAMILIES["cool"]
    gaps = cool_low - warm_high, warm_low + 360 - cool_high
    assert min(gaps) - 2 * 18 > 36


def test_digits_rarely_overlap(world, parts):
    shared, total = 0, 0
    for scene in _scenes(world, parts["train"], scenes.COLOUR_CLASSES, [(0, 5, 9, 14)] * 50):
        cover = np.zeros((64, 64), int)
        for x, y, side in (drawn.box for drawn in scene.objects):
            cover[y : y + side, x : x + side] += 1
        shared, total = shared + (cover > 1).sum(), total + (cover > 0).sum()
    assert shared / total < 0.05


def test_ladder_spans_both_ends():
    counts = scenes.ladder(560, 4, 20, scenes.generator(SEED, 1, 0))
    assert counts.dtype == np.int64 and counts.max() == 560 and counts.min() == 4
    ratios = np.sort(counts)[1:] / np.sort(counts)[:-1]
    np.testing.assert_allclose(ratios, (560 / 4) ** (1 / 19), rtol=0.25)
    assert not np.array_equal(counts, np.sort(counts)[::-1])


@pytest.mark.parametrize("total", [100, 205, 400])
def test_sizes_sum_to_the_total(total):
    sizes = scenes.draw_sizes(100, total, (0.4, 0.3, 0.2, 0.1), scenes.generator(SEED, 1, 0))
    assert sizes.sum() == total and sizes.min() >= 1 and sizes.max() <= 4


def test_impossible_total_is_refused():
    with pytest.raises(ValueError, match="cannot hold 401"):
        scenes.draw_sizes(100, 401, (0.4, 0.3, 0.2, 0.1), scenes.generator(SEED, 1, 0))


def test_labels_meet_both_margins():
    # Class 0 is in every image: the only solution puts one other class into each image.
    counts, sizes = np.array([6, 3, 2, 1]), np.full(6, 2)
    table = scenes.assign_labels(counts, sizes, scenes.generator(SEED, 1, 0))
    assert table.dtype == np.int8 and set(np.unique(table)) == {0, 1}
    np.testing.assert_array_equal(table.sum(0), counts)
    np.testing.assert_array_equal(table.sum(1), sizes)


def test_labels_that_cannot_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        scenes.assign_labels(np.array([3, 1]), np.array([2, 2]), scenes.generator(SEED, 1, 0))


def test_equal_generators_draw_equal_scenes(world, parts):
    draw = [next(_scenes(world, parts["train"], scenes.COLOUR_CLASSES, [(2, 7)])) for _ in range(2)]
    np.testing.assert_array_equal(draw[0].image, draw[1].image)
    assert draw[0].objects == draw[1].objects
    other = list(_scenes(world, parts["train"], scenes.COLOUR_CLASSES, [(2, 7), (2, 7)]))[1]
    assert not np.array_equal(other.image, draw[0].image)


@pytest.mark.parametrize("count", [0, 5])
def test_scene_needs_one_to_four_classes(world, parts, count):
    with pytest.raises(ValueError, match="1 to 4"):
        next(_scenes(world, parts["train"], scenes.COLOUR_CLASSES, [tuple(range(count))]))
