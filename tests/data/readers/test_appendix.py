"""The appendix: all public layouts give the same listing; whatever is missing, double or wrong is named."""

import os
import pickle
import shutil

import numpy as np
import pytest

from ltpml_jax.data.labels import class_counts, class_groups
from ltpml_jax.data.readers import appendix
from ltpml_jax.errors import UserError
from tests.helpers import trees
from tests.helpers.pickles import attack

TRAIN = "VOCdevkit/VOC2012/JPEGImages/a.jpg 1 0\r\nVOCdevkit/VOC2012/JPEGImages/b.jpg 2\r\n"
TEST = "VOCdevkit/VOC2007/JPEGImages/c.jpg 0"
LABELS = "dog 0\r\ncat 1 \r\ntraffic light 2"
VOC = {"lt_train.txt": TRAIN, "lt_test.txt": TEST, "labels.txt": LABELS}
SPLIT = {"head": set(), "middle": set(), "tail": {0, 1, 2}}
FREQUENCY = {"class_freq": np.array([1, 1, 1]), "gt_labels": [np.array([1, 1, 0]), np.array([0, 0, 1])]}


def dump(path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))


@pytest.fixture
def images(tmp_path):
    root = tmp_path / "data"
    trees.plant(root, [line.split()[0] for line in f"{TRAIN}\n{TEST}".splitlines() if line], 1, ((40, 30),))
    return root


@pytest.fixture
def lists(tmp_path):
    trees.write_lists(tmp_path / "lists", "voc", VOC)
    return tmp_path / "lists"


def read(lists, images, dataset="voc_mlt"):
    return appendix.read_appendix(dataset, str(lists), str(images))


def test_lists_become_a_listing(lists, images):
    listing = read(lists, images)
    assert listing.class_names == ("dog", "cat", "traffic light")
    train, test = listing.splits["train"], listing.splits["test"]
    assert train.ids == ["VOCdevkit/VOC2012/JPEGImages/a.jpg", "VOCdevkit/VOC2012/JPEGImages/b.jpg"]
    assert train.paths == [str(images / path) for path in train.ids]
    np.testing.assert_array_equal(train.states, [[1, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(test.states, [[1, 0, 0]])
    assert listing.groups is None and listing.notes == []


@pytest.mark.parametrize(
    ("place", "pickles", "given"),
    [
        ("appendix/VOCdevkit", "appendix/VOCdevkit/longtail2012", "appendix"),  # NDLP
        ("appendix/VOCdevkit", "appendix/VOCdevkit/longtail2012", "appendix/VOCdevkit"),
        ("data/voc", "data/voc", "."),  # LMPT
        ("data/voc", "data/voc", "data/voc"),
        ("data/voc", "appendix/VOCdevkit/longtail2012", "."),  # lists of one, pickles of the other
    ],
)
def test_every_layout_is_found(tmp_path, images, place, pickles, given):
    root = tmp_path / "repository"
    trees.write_lists(root / place, "voc", VOC)
    trees.write_lists(root / place.replace("voc", "coco").replace("VOCdevkit", "coco"), "coco", VOC)
    dump(root / pickles / "class_split.pkl", SPLIT)
    dump(root / pickles / "class_freq.pkl", FREQUENCY)
    dump(root / "appendix/coco/longtail2017/class_split.pkl", {"head": {0}, "middle": {1}, "tail": {2}})
    listing = read(root / given, images)
    assert len(listing.splits["train"].ids) == 2 and listing.notes == []
    dump(root / pickles / "class_freq.pkl", {"class_freq": np.array([1, 2, 1])})
    seen = given in (".", "appendix", place)
    assert bool(read(root / given, images).notes) == seen


@pytest.mark.parametrize("root", ["data", "data/VOCdevkit", "up"])
def test_images_may_begin_at_any_of_their_folders(tmp_path, lists, images, root):
    (tmp_path / "up").mkdir()
    shutil.copytree(images, tmp_path / "up" / "voc")
    listing = read(lists, tmp_path / root)
    for split in listing.splits.values():
        assert all((tmp_path / path).is_file() for path in split.paths)


def test_images_of_one_year_alone_are_not_enough(lists, images):
    with pytest.raises(UserError, match=r"None of the images of voc_lt_test\.txt is below .*JPEGImages; looked for"):
        read(lists, images / "VOCdevkit" / "VOC2012" / "JPEGImages")


def test_a_missing_list_is_named_with_where_it_was_searched(lists, images):
    (lists / "voc_lt_test.txt").unlink()
    with pytest.raises(UserError, match=r"no voc_lt_test\.txt in .*lists or up to 3 folders below"):
        read(lists, images)


def test_equal_copies_count_as_one_and_different_ones_are_named(lists, images):
    trees.write_lists(lists / "copy", "voc", VOC)
    assert len(read(lists, images).splits["train"].ids) == 2
    (lists / "copy" / "voc_lt_train.txt").write_text("a.jpg 0\n")
    with pytest.raises(UserError, match=r"different versions of voc_lt_train\.txt: .*copy/voc_lt_train\.txt"):
        read(lists, images)


@pytest.mark.parametrize("name", ["voc_lt_train.txt", "voc_labels.txt", "class_split.pkl", "class_freq.pkl"])
def test_a_pipe_among_the_lists_is_refused_without_waiting_for_it(lists, images, name):
    (lists / name).unlink(missing_ok=True)
    os.mkfifo(lists / name)
    with pytest.raises(UserError, match=f"{name} cannot be read .it is no regular file"):
        read(lists, images)


def test_no_folder_of_lists(tmp_path, images):
    with pytest.raises(UserError, match=r"--appendix=.*absent cannot be read"):
        read(tmp_path / "absent", images)


def test_images_without_class_or_in_both_splits_are_noted(lists, images):
    (lists / "voc_lt_test.txt").write_text(TEST + "\nVOCdevkit/VOC2012/JPEGImages/a.jpg\n")
    assert read(lists, images).notes == [
        "1 images of test have no class and count as negative for all",
        "1 images are in train and in test",
    ]


def test_pickles_that_differ_are_noted_with_their_classes(lists, images):
    dump(lists / "class_split.pkl", {"head": {0}, "middle": set(), "tail": {1, 2}})
    dump(lists / "class_freq.pkl", {"class_freq": np.array([1, 5, 1])})
    split, frequency = read(lists, images).notes
    assert split == "class_split.pkl differs from the counts, which are used: dog (head, by count tail)"
    assert frequency == "class_freq.pkl differs from the training list, which is used: cat 5, counted 1"


@pytest.mark.parametrize("name", ["class_split.pkl", "class_freq.pkl"])
@pytest.mark.parametrize("content", [attack, pickle.dumps(SPLIT)[:-9], b"", pickle.dumps([1, 2])])
def test_pickles_that_cannot_be_trusted_stop_it_and_may_be_deleted(lists, images, tmp_path, name, content):
    canary = tmp_path / "canary"
    (lists / name).write_bytes(pickle.dumps(attack(canary)) if content is attack else content)
    with pytest.raises(UserError, match=rf"{name}.*elete it: it is only compared"):
        read(lists, images)
    assert not canary.exists()
    (lists / name).unlink()
    read(lists, images)


NUS = {
    "lt_train.txt": "images/1_2_m.jpg 0\nimages/3_4_m.jpg 1 2\n",
    "lt_test.txt": "images/5_6_m.jpg 2\n",
    "labels.txt": "airport 0\nanimal 1\nbeach 2\n",
}


@pytest.fixture
def nus(tmp_path):
    trees.plant(tmp_path / "data/nuswide", [f"images/{name}_m.jpg" for name in ("1_2", "3_4", "5_6")], 1, ((40, 30),))
    trees.write_lists(tmp_path / "appendix/nuswide", "nw", NUS)
    return tmp_path


def test_groups_of_nus_wide_are_the_published_ones(nus):
    dump(nus / "appendix/nuswide/class_split.pkl", {"head": {2}, "middle": {0}, "tail": {1}})
    listing = read(nus / "appendix", nus / "data", "nuswide_lt")
    assert listing.groups is not None
    assert {group: np.flatnonzero(mask).tolist() for group, mask in listing.groups.items()} == {
        "head": [2],
        "medium": [0],
        "tail": [1],
    }
    assert listing.splits["test"].paths == [str(nus / "data/nuswide/images/5_6_m.jpg")]


def test_paths_of_nus_wide_may_have_backslashes(nus):
    dump(nus / "appendix/nuswide/class_split.pkl", {"head": {2}, "middle": {0}, "tail": {1}})
    for part in ("lt_train.txt", "lt_test.txt"):
        file = nus / "appendix/nuswide" / f"nw_{part}"
        file.rename(file.with_name(f"nuswide_{part}"))
        file.with_name(f"nuswide_{part}").write_text(NUS[part].replace("/", "\\"))
    listing = read(nus / "appendix", nus / "data", "nuswide_lt")
    assert listing.splits["test"].ids == ["images/5_6_m.jpg"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no class_split.pkl with the lists; no rule says"),
        (attack, "class_split.pkl .*copy it again, because no rule"),
        ({"head": {2}, "middle": {0}, "tail": set()}, "does not put each of 3 classes into head, middle or tail"),
        ({"head": {2, 1}, "middle": {0}, "tail": {1}}, "does not put each"),
        ({"head": {2}, "middle": {0}, "tail": {1, 7}}, "does not put each"),
        ({"head": {2}, "middle": {0}, "rest": {1}}, "does not put each"),
    ],
)
def test_groups_of_nus_wide_cannot_be_done_without(nus, tmp_path, content, message):
    canary = tmp_path / "canary"
    if content is not None:
        dump(nus / "appendix/nuswide/class_split.pkl", attack(canary) if content is attack else content)
    with pytest.raises(UserError, match=f"(?i){message}"):
        read(nus / "appendix", nus / "data", "nuswide_lt")
    assert not canary.exists()


needs_reference = pytest.mark.skipif(not trees.REFERENCE.exists(), reason="the published lists are not here")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """All images of the real lists, by the name of their list; hard links to one small image."""
    root = tmp_path_factory.mktemp("real")
    for stem in ("voc", "coco"):
        lists = [trees.REFERENCE / stem / f"{stem}_lt_{split}.txt" for split in ("train", "test")]
        trees.plant(root / stem, [path for file in lists for path in trees.listed(file)], 1, ((16, 16),))
    return root


@needs_reference
def test_the_real_lists_of_voc(real):
    listing = read(trees.REFERENCE, real)
    train, test = listing.splits["train"], listing.splits["test"]
    counts = class_counts(train.states).astype(int)
    published = "6 34 8 14 154 17 249 29 479 4 240 48 11 20 775 100 5 82 7 64"
    assert (len(train.ids), len(test.ids)) == (1142, 4952) and " ".join(map(str, counts)) == published
    assert [int(mask.sum()) for mask in class_groups(counts).values()] == [6, 6, 8]
    assert listing.notes == [] and listing.class_names[1] == "bicycle" and listing.class_names[19] == "tvmonitor"


@needs_reference
def test_the_real_lists_of_coco(real):
    listing = read(trees.REFERENCE, real, "coco_mlt")
    train, test = listing.splits["train"], listing.splits["test"]
    assert (len(train.ids), len(test.ids), int(train.states.sum())) == (1909, 5000, 8316)
    assert [int(mask.sum()) for mask in class_groups(class_counts(train.states)).values()] == [22, 33, 25]
    assert listing.notes == ["48 images of test have no class and count as negative for all"]
    assert listing.class_names[9] == "traffic light" and listing.class_names[79] == "toothbrush"
