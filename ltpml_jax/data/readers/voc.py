"""Own labels from XML files in the manner of Pascal VOC: Annotations/, JPEGImages/ and, with splits, ImageSets/Main/.

An image has the classes of its objects; classes are sorted by name. Its other classes are absent, as VOC annotates
every object of its classes. A class of which all objects in an image are `difficult` is a candidate: VOC's own
classification task counts such an image neither for nor against the class.
"""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

import numpy as np
from etils import epath

from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.listing import ListedSplit, Listing
from ltpml_jax.data.locations import check_reachable
from ltpml_jax.data.readers import common
from ltpml_jax.errors import UserError

_LISTS = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}
_ALL_TRAINING = "trainval.txt"  # read where there is no train.txt


@dataclass(frozen=True)
class _Annotation:
    """One XML file: the image it is about, its classes with an object that is not difficult, and its other classes."""

    file_name: str
    clear: set[str]
    difficult: set[str]


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses document types, of which VOC has none: all XML bombs need one to declare their entities."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("it declares a document type")


def read_voc(
    folder: str, images: str, unlisted: str | None = None, difficult: LabelState = LabelState.CANDIDATE
) -> Listing:
    """The images and labels of the VOC-like `folder`; images lie in `images` ("": in its JPEGImages).

    Splits are those of ImageSets/Main (train.txt or else trainval.txt, val.txt, test.txt); without that folder all
    images train. `unlisted`, "negative" or "unknown", replaces the module's rule for classes without an object,
    `difficult` the state of those with difficult ones only.

    Raises:
        UserError: a folder or a file is missing or broken, or names no image or class; the message names it.
    """
    check_reachable(folder)
    home = epath.Path(folder)
    annotations = home / "Annotations"
    if not annotations.is_dir():
        raise UserError(f"There is no folder {annotations}; --voc names the folder that holds Annotations.")
    rest = LabelState.NEGATIVE if unlisted is None else common.unlisted_state(unlisted)
    ids, notes = _ids(home, annotations)
    read = {split: [_read(annotations / f"{one}.xml") for one in members] for split, members in ids.items()}
    every = [annotation for found in read.values() for annotation in found]
    class_names = tuple(sorted(set().union(*(annotation.clear | annotation.difficult for annotation in every))))
    where = images or str(home / "JPEGImages")
    splits = {}
    for split, found in read.items():
        places = [str(annotations / f"{one}.xml") for one in ids[split]]
        paths = common.image_paths(where, [annotation.file_name for annotation in found], places.__getitem__)
        splits[split] = ListedSplit(ids[split], paths, _states(found, class_names, rest, difficult))
    return common.checked(Listing(class_names, splits, notes=notes + _meaning(every, rest, difficult)), folder)


def _meaning(annotations: list[_Annotation], rest: LabelState, difficult: LabelState) -> list[str]:
    """Notes on what was made of the labels that the files leave open."""
    notes = [f"Classes without an object in an image count as {rest.name.lower()}."]
    hard = sum(len(annotation.difficult) for annotation in annotations)
    if hard:
        notes.append(f"Labels that rest on difficult objects only count as {difficult.name.lower()}: {hard}.")
    return notes


def _ids(home: epath.Path, annotations: epath.Path) -> tuple[dict[str, list[str]], list[str]]:
    """The ids of each split, in the order of its list or by name, and a note on annotations that no list names."""
    files = {path.name.removesuffix(".xml") for path in annotations.iterdir() if path.name.endswith(".xml")}
    lists = home / "ImageSets" / "Main"
    named = {split: lists / name for split, name in _LISTS.items() if (lists / name).exists()}
    if "train" not in named and (lists / _ALL_TRAINING).exists():
        named = {"train": lists / _ALL_TRAINING, **{split: named[split] for split in named if split != "validation"}}
    if not named:
        return {"train": sorted(files)}, []
    ids = {split: _listed(path, files) for split, path in named.items()}
    for split, members in ids.items():
        absent = [one for one in members if one not in files]
        if absent:
            raise UserError(
                f"{named[split]} lists {absent[0]!r} (and {len(absent) - 1} more), of which {annotations} has no .xml "
                f"file; add them, or move the list away."
            )
    left = len(files.difference(*ids.values()))
    return ids, [f"Left out, because no list in {lists} names them, files of {annotations}: {left}."] if left else []


def _listed(path: epath.Path, files: set[str]) -> list[str]:
    """The ids of a list: the first word of each line (the second is a label), or all of it where that is one's name."""
    lines = common.read_bytes(str(path), "--voc").decode("utf-8-sig", "replace").splitlines()
    named = ((line, line.strip(), line.split()[0]) for line in lines if line.strip())
    return [next((name for name in names if name in files), names[-1]) for names in named]


def _read(path: epath.Path) -> _Annotation:
    content = common.read_bytes(str(path), "--voc")
    try:
        root = ElementTree.fromstring(content, ElementTree.XMLParser(target=_NoDoctype()))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path} is no VOC annotation ({error}); correct it, or take it out.") from error
    if root.tag != "annotation":
        raise UserError(f"{path} holds <{root.tag}>, not a VOC <annotation>; correct it, or take it out.")
    clear, difficult = set(), set()
    for number, item in enumerate(root.findall("object"), start=1):
        name = common.class_name(item.findtext("name") or "")
        if not name:
            raise UserError(f"Object {number} of {path} has no name; add it.")
        (difficult if (item.findtext("difficult") or "").strip() == "1" else clear).add(name)
    file_name = (root.findtext("filename") or "").strip() or path.name.removesuffix(".xml") + ".jpg"
    return _Annotation(file_name, clear, difficult - clear)


def _states(
    annotations: list[_Annotation], class_names: tuple[str, ...], rest: LabelState, difficult: LabelState
) -> np.ndarray:
    """Labels int8 [N, C] of the annotated images."""
    states = np.full((len(annotations), len(class_names)), rest, np.int8)
    numbers = {name: number for number, name in enumerate(class_names)}
    for row, annotation in enumerate(annotations):
        states[row, [numbers[name] for name in annotation.difficult]] = difficult
        states[row, [numbers[name] for name in annotation.clear]] = LabelState.POSITIVE
    return states
