"""Reads what users of the original have: lists and pickles (the appendix) and the folders of VOC, COCO and NUS-WIDE.

The public layouts differ in their folders, not in their files, so files are found by name, in the given folder or up to
three levels below it: `voc_lt_train.txt`, `voc_lt_test.txt`, `voc_labels.txt`, and, if there, `class_split.pkl` and
`class_freq.pkl` (for COCO `coco_...`, for NUS-WIDE `nw_...` or `nuswide_...`).
"""

import re
from dataclasses import dataclass
from os.path import expanduser

import numpy as np
from etils import epath

from ltpml_jax.data.labels import class_counts
from ltpml_jax.data.listing import ListedSplit, Listing
from ltpml_jax.data.locations import check_reachable, measure_all
from ltpml_jax.data.readers import common, published_pickles
from ltpml_jax.data.readers.list_files import ImageList, read_classes, read_images
from ltpml_jax.errors import UserError

_DEPTH = 3
_SAMPLE = 50
# Folders of images, whose files are not to be listed.
_IMAGE_FOLDERS = ("jpegimages", "train2017", "val2017", "images", "flickr", "annotations", "segmentationclass")


@dataclass(frozen=True)
class Source:
    """One of the public datasets.

    stem: a pattern of how its lists are named; named: what to call that in messages; words: what folders of it are
    called; home: where the public repositories have the lists; homes: folders below --images that may hold what the
    lists name; published_groups: whether no rule decides which classes are head, medium and tail.
    """

    stem: str
    named: str
    words: tuple[str, ...]
    home: str
    homes: tuple[str, ...]
    published_groups: bool = False


SOURCES = {
    "voc_mlt": Source("voc", "voc", ("voc",), "data/voc of the LMPT repository", ("", "voc", "VOCdevkit")),
    "coco_mlt": Source("coco", "coco", ("coco",), "data/coco of the LMPT repository", ("", "coco", "images")),
    "nuswide_lt": Source(
        "(nw|nus[-_]?wide)",
        "nw",
        ("nus",),
        "the lists that came with the published splits",
        ("", "nuswide", "nus-wide", "NUS-WIDE", "images", "Flickr", "nuswide/Flickr", "NUS-WIDE/Flickr"),
        published_groups=True,
    ),
}


def read_appendix(dataset: str, appendix: epath.PathLike, images: epath.PathLike) -> Listing:
    """The listing of a key of SOURCES, from the folder of its lists and the folder of its images.

    An image's id is its path in the lists. Where the lists' paths begin below `images` is found by trying.

    Raises:
        UserError: a file is missing, in two versions, or wrong; or none of the images is where it should be.
    """
    source = SOURCES[dataset]
    for folder in (appendix, images):
        check_reachable(folder)
    home = epath.Path(expanduser(appendix))
    found = _search(home)
    lists = {part: _the_list(source, part, found, appendix) for part in ("train", "test", "labels")}
    class_names = read_classes(lists["labels"])
    read = {split: read_images(lists[split], len(class_names)) for split in ("train", "test")}
    root = epath.Path(expanduser(images))
    splits = {
        split: ListedSplit(images.paths, _locate(images.paths, root, source, lists[split]), images.states)
        for split, images in read.items()
    }
    near = [path for path in found if _belongs(path, lists["train"].parent, home, source)]
    groups, notes = published_pickles.compare(
        near, class_names, class_counts(read["train"].states), source.published_groups
    )
    return Listing(class_names, splits, groups, [*_notes(read), *notes])


def _search(folder: epath.Path, depth: int = _DEPTH) -> list[epath.Path]:
    """The .txt and .pkl files in a folder and in those below it, sorted, without folders of images."""
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"--appendix={folder} cannot be read ({error.strerror or error}); name a folder.") from None
    files = [path for path in inside if path.suffix in (".txt", ".pkl")]
    if depth:
        for path in inside:
            if not path.suffix and path.name.lower() not in _IMAGE_FOLDERS and path.is_dir():
                files += _search(path, depth - 1)
    return files


def _the_list(source: Source, part: str, found: list[epath.Path], appendix: epath.PathLike) -> epath.Path:
    """The one list for `part` among the files found; equal copies count as one."""
    pattern = re.compile(rf"{source.stem}([-_]m?lt)?[-_]{part}\.txt", re.IGNORECASE)
    matching = [path for path in found if pattern.fullmatch(path.name)]
    wanted = f"{source.named}_labels.txt" if part == "labels" else f"{source.named}_lt_{part}.txt"
    if not matching:
        raise UserError(
            f"There is no {wanted} in {appendix} or up to {_DEPTH} folders below it; --appendix names the folder of "
            f"the lists (for example {source.home}; img_id.txt alone does not say what to test on)."
        )
    if len(matching) > 1 and len({common.read_bytes(str(path), "--appendix") for path in matching}) > 1:
        raise UserError(
            f"{appendix} holds different versions of {wanted}: {', '.join(map(str, matching))}; name one of the "
            f"folders as --appendix."
        )
    return matching[0]


def _belongs(path: epath.Path, lists: epath.Path, appendix: epath.Path, source: Source) -> bool:
    """Whether a pickle is of this dataset: in a folder called after it, or below its lists and not called otherwise."""
    folders = "/".join(path.relative_to(appendix).parts[:-1]).lower()
    if path.suffix != ".pkl" or any(word in folders for word in source.words):
        return path.suffix == ".pkl"
    return lists in path.parents and not any(word in folders for other in SOURCES.values() for word in other.words)


def _locate(listed: list[str], root: epath.Path, source: Source, where: epath.Path) -> list[str]:
    """The paths of images below `root`, by the beginning that finds most of a sample of them."""
    sample = [listed[row] for row in np.unique(np.linspace(0, len(listed) - 1, _SAMPLE).astype(int))]
    depth = min(path.count("/") for path in sample)
    # `cut` leaves out the listed path's first folders: `root` may be one of them.
    beginnings = [(home, cut) for cut in range(depth + 1) for home in source.homes]
    tried = [[_join(root, home, path, cut) for path in sample] for home, cut in beginnings]
    hits = [sum(file.size >= 0 for file in measure_all(paths)) for paths in tried]
    if not max(hits):
        raise UserError(
            f"None of the images of {where.name} is below {root}; looked for {tried[0][0]}, "
            f"{tried[1][0]} and so on; --images names the folder that holds what the list begins with."
        )
    home, cut = beginnings[int(np.argmax(hits))]
    return [_join(root, home, path, cut) for path in listed]


def _join(root: epath.Path, home: str, path: str, cut: int) -> str:
    return str(root / home / "/".join(path.split("/")[cut:]))


def _notes(read: dict[str, ImageList]) -> list[str]:
    notes = [
        f"{images.without_label} images of {split} have no class and count as negative for all"
        for split, images in read.items()
        if images.without_label
    ]
    both = len(set(read["train"].paths) & set(read["test"].paths))
    return [*notes, f"{both} images are in train and in test"] if both else notes
