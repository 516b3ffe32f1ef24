"""Own labels in VOC's XML: objects, difficult ones, splits, bombs, and the sentence for each mistake."""

import pathlib

import numpy as np
import pytest

from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.readers import voc
from ltpml_jax.errors import UserError

NO, YES, MAYBE, UNKNOWN = 0, 1, 2, 3


def _object(name: str, difficult: int = 0) -> str:
    part = "<part><name>head</name></part>"
    return f"<object><name>{name}</name><difficult>{difficult}</difficult>{part}</object>"


def _annotate(folder: pathlib.Path, stem: str, *objects: str, file_name: str | None = None) -> None:
    name = f"<filename>{stem}.jpg</filename>" if file_name is None else file_name
    _write(folder / "Annotations" / f"{stem}.xml", f"<annotation>{name}{''.join(objects)}</annotation>".encode())


def _write(file: pathlib.Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def _tree(folder: pathlib.Path) -> str:
    _annotate(folder, "2", _object("person", 1), _object("person"), _object("dining table", 1))
    _annotate(folder, "1", _object("Fußgänger"), _object(" person "))
    _annotate(folder, "3")
    return str(folder)


def test_objects_become_labels_and_difficult_ones_candidates(tmp_path):
    listing = voc.read_voc(_tree(tmp_path), "")
    train = listing.splits["train"]
    assert listing.class_names == ("Fußgänger", "dining table", "person")
    assert train.ids == ["1", "2", "3"] and train.states.dtype == np.int8
    assert train.paths == [str(tmp_path / "JPEGImages" / f"{number}.jpg") for number in (1, 2, 3)]
    assert train.states.tolist() == [[YES, NO, YES], [NO, MAYBE, YES], [NO, NO, NO]]
    assert listing.notes == [
        "Classes without an object in an image count as negative.",
        "Labels that rest on difficult objects only count as candidate: 1.",
    ]


def test_the_caller_may_choose_what_difficult_and_missing_objects_mean(tmp_path):
    listing = voc.read_voc(_tree(tmp_path), "/photos", "unknown", difficult=LabelState.POSITIVE)
    assert listing.splits["train"].states.tolist() == [[YES, UNKNOWN, YES], [UNKNOWN, YES, YES], [UNKNOWN] * 3]
    assert listing.splits["train"].paths[0] == "/photos/1.jpg"


def test_lists_give_splits_in_their_order(tmp_path):
    _tree(tmp_path)
    _annotate(tmp_path, "4", _object("cat"))
    _annotate(tmp_path, "5", _object("cow"))
    lists = tmp_path / "ImageSets" / "Main"
    for name, content in (("train", b"3\r\n\r\n1 \r\n"), ("val", b"4"), ("trainval", b"1\n3\n4\n"), ("test", b"2\n")):
        _write(lists / f"{name}.txt", content)
    listing = voc.read_voc(str(tmp_path), "")
    assert {name: split.ids for name, split in listing.splits.items()} == {
        "train": ["3", "1"], "validation": ["4"], "test": ["2"],
    }  # fmt: skip
    assert listing.class_names == ("Fußgänger", "cat", "dining table", "person")  # the cow is in no list
    assert listing.notes[0].startswith("Left out, because no list in ") and listing.notes[0].endswith(": 1.")
    (lists / "train.txt").unlink()
    splits = voc.read_voc(str(tmp_path), "").splits
    assert {name: split.ids for name, split in splits.items()} == {"train": ["1", "3", "4"], "test": ["2"]}


def test_a_list_may_name_a_file_with_blanks(tmp_path):
    for stem in ("my cat", "my", "end "):
        _annotate(tmp_path, stem, _object("cat"))
    _write(tmp_path / "ImageSets" / "Main" / "train.txt", b"my cat\nmy 1\nend \n")
    assert voc.read_voc(str(tmp_path), "").splits["train"].ids == ["my cat", "my", "end "]


def test_an_annotation_without_file_name_is_about_the_jpeg_of_its_name(tmp_path):
    _annotate(tmp_path, "a", _object("x"), file_name="")
    _annotate(tmp_path, "b", _object("x"), file_name="<filename>other.png</filename>")
    assert voc.read_voc(str(tmp_path), "/p").splits["train"].paths == ["/p/a.jpg", "/p/other.png"]


_LEVELS = "".join(f"<!ENTITY a{level} '{f'&a{level - 1};' * 10}'>" for level in range(1, 12))
_LAUGHS = f"<!DOCTYPE annotation [<!ENTITY a0 'ha'>{_LEVELS}]>"
BOMBS = {
    "billion laughs": f"{_LAUGHS}<annotation><filename>&a11;</filename></annotation>".encode(),
    "the same in UTF-16": f"{_LAUGHS}<annotation><filename>&a11;</filename></annotation>".encode("utf-16"),
    "quadratic blow-up": (
        f"<!DOCTYPE annotation [<!ENTITY a '{'x' * 100_000}'>]><annotation>{'&a;' * 100_000}</annotation>".encode()
    ),
    "a file of the machine": (
        b"<!DOCTYPE annotation [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>"
        b"<annotation><filename>&a;</filename></annotation>"
    ),
    "a parameter entity from elsewhere": (
        b"<!DOCTYPE annotation [<!ENTITY % a SYSTEM 'http://127.0.0.1/x.dtd'>%a;]><annotation/>"
    ),
    "an outside document type": b"<!DOCTYPE annotation SYSTEM 'http://127.0.0.1/x.dtd'><annotation/>",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_xml_bombs_are_refused_before_they_go_off(tmp_path, bomb):
    _write(tmp_path / "Annotations" / "b.xml", BOMBS[bomb])
    with pytest.raises(UserError, match=r"b.xml is no VOC annotation \(it declares a document type\)"):
        voc.read_voc(str(tmp_path), "")


def test_very_deep_nesting_does_no_harm(tmp_path):
    _write(
        tmp_path / "Annotations" / "a.xml", b"<annotation>" + b"<a>" * 300_000 + b"</a>" * 300_000 + b"</annotation>"
    )
    _annotate(tmp_path, "b", _object("cat"))
    assert voc.read_voc(str(tmp_path), "").splits["train"].states.tolist() == [[NO], [YES]]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "bad.xml is no VOC annotation"),
        (b"<annotation><object>", "bad.xml is no VOC annotation"),
        (b"<annotation>&nbsp;</annotation>", "bad.xml is no VOC annotation"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "bad.xml is no VOC annotation"),
        (b"<?xml version='1.0' encoding='klingon'?><annotation/>", "bad.xml is no VOC annotation"),
        (b"<svg/>", "bad.xml holds <svg>, not a VOC <annotation>"),
        (b"<annotation><object><name> </name></object></annotation>", "Object 1 of .*bad.xml has no name"),
        (
            b"<annotation><filename>gs:x://1.jpg</filename></annotation>",
            "bad.xml is about gs:x://1.jpg, which is an address",
        ),
        (b"<annotation><filename>../../x.jpg</filename></annotation>", "'../../x.jpg' leaves the folder"),
        (b"<annotation><filename>1.jpg</filename></annotation>", "lists the image .*1.jpg twice"),
    ],
)
def test_broken_files_are_named(tmp_path, content, sentence):
    _write(pathlib.Path(_tree(tmp_path)) / "Annotations" / "bad.xml", content)
    with pytest.raises(UserError, match=sentence):
        voc.read_voc(str(tmp_path), "")


def test_missing_folders_annotations_and_classes_are_named(tmp_path):
    with pytest.raises(UserError, match="There is no folder .*Annotations; --voc names"):
        voc.read_voc(str(tmp_path), "")
    (tmp_path / "Annotations").mkdir()
    with pytest.raises(UserError, match="names no class"):
        voc.read_voc(str(tmp_path), "")
    _write(tmp_path / "ImageSets" / "Main" / "train.txt", b"1\n9\n")
    with pytest.raises(UserError, match=r"train.txt lists '1' \(and 1 more\), of which"):
        voc.read_voc(str(tmp_path), "")
    _write(pathlib.Path(_tree(tmp_path)) / "ImageSets" / "Main" / "train.txt", b"1\n2\n1\n")
    with pytest.raises(UserError, match="lists the image .*1.jpg twice"):
        voc.read_voc(str(tmp_path), "")
