"""What is predicted: files, folders and tables, and what is refused."""

from pathlib import Path

import pytest

from ltpml_jax.data.readers import tables
from ltpml_jax.errors import UserError
from ltpml_jax.inference import inputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.PNG", "a.jpg", "deep/er/c.tiff", "notes.txt", ".hidden.png", "deep/list.csv"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).touch()
    return tmp_path


def test_folders_are_searched_to_any_depth_in_order_and_files_are_taken_as_they_are(folder):
    photos = folder / "photos"
    found = inputs.find([str(photos / "notes.txt"), str(photos), str(photos / "a.jpg")])
    assert list(found.places) == [str(photos / name) for name in ("notes.txt", "a.jpg", "b.PNG", "deep/er/c.tiff")]
    assert all(str(place) == name for name, place in found.places.items()) and not found.notes


def test_a_link_that_leads_nowhere_is_an_image_that_cannot_be_read_and_folders_are_none(folder):
    photos = folder / "photos"
    (photos / "z.jpg").symlink_to("gone.jpg")
    (photos / "folder.png").mkdir()
    assert [Path(name).name for name in inputs.find([str(photos)]).places] == ["a.jpg", "b.PNG", "c.tiff", "z.jpg"]


def test_linked_folders_are_searched_once_and_hidden_ones_not_at_all(folder):
    photos = folder / "photos"
    (folder / "linked" / ".thumbs").mkdir(parents=True)
    for name in ("d.png", ".thumbs/e.png"):
        (folder / "linked" / name).touch()
    (photos / "to").symlink_to(folder / "linked")
    (folder / "linked" / "back").symlink_to(photos)
    names = [Path(name).relative_to(photos) for name in inputs.find([str(photos)]).places]
    assert list(map(str, names)) == ["a.jpg", "b.PNG", "deep/er/c.tiff", "to/d.png"]


def test_a_column_called_path_is_the_one_also_beside_a_class_called_image(folder):
    (folder / "photos" / "t.csv").write_text("path,image\na.jpg,1\n")
    assert list(inputs.find([str(folder / "photos" / "t.csv")]).places) == ["a.jpg"]


@pytest.mark.parametrize("column", tables.PATHS)
def test_a_table_may_call_its_paths_by_any_usual_name(folder, column):
    table = folder / "photos" / "t.csv"
    table.write_text(f"cat,{column}\n1,a.jpg\n0,deep/er/c.tiff\n")
    found = inputs.find([str(table)])
    assert found.places == {name: folder / "photos" / name for name in ("a.jpg", "deep/er/c.tiff")}
    assert found.notes == [f"{table}: paths are in the column {column!r}, relative to {folder}/photos."]
    assert inputs.find([str(table)], "/else").places["a.jpg"] == Path("/else/a.jpg")


WRONG = [
    ("filename,image\na.jpg,b.jpg\n", r"has several columns of paths \(filename, image\); keep one"),
    ("cat\n1\n", "has none of the columns path, filename,"),
    ("path,cat\na.jpg,1\n,0\n", "line 3 of .* names no image"),
    ("path,cat\n", "There is no image in .*t.csv"),
]


@pytest.mark.parametrize(("text", "sentence"), WRONG)
def test_a_table_that_leaves_the_images_open_is_refused(tmp_path, text, sentence):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=sentence):
        inputs.find([str(tmp_path / "t.csv")])


def test_tables_of_json_lines_are_read_and_those_with_tabs_are_not_taken_for_images(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"path": "a.jpg"}\n{"path": "b.jpg"}\n')
    assert list(inputs.find([str(tmp_path / "t.jsonl")]).places) == ["a.jpg", "b.jpg"]
    (tmp_path / "t.tsv").write_text("path\tcat\na.jpg\t1\n")
    with pytest.raises(UserError, match=r"t\.tsv has '\\t' between its columns; save it with commas"):
        inputs.find([str(tmp_path / "t.tsv")])


def test_a_name_that_only_begins_like_a_home_is_one(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "~no_user.png").touch()
    (folder / "list.csv").write_text("path\n~no_user.png\n")
    assert list(inputs.find(["~no_user.png"]).places) == ["~no_user.png"]
    assert list(inputs.find(["list.csv"], "~no_user").places.values()) == [Path("~no_user/~no_user.png")]


def test_what_is_not_there_and_names_for_two_images_are_refused(folder):
    with pytest.raises(UserError, match=r"There is no file or folder .*/no\.jpg"):
        inputs.find([str(folder / "no.jpg")])
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match="There is no image in .*/empty"):
        inputs.find([str(folder / "empty")])
    for name in ("empty/t.csv", "photos/t.csv"):
        (folder / name).write_text("path\na.jpg\n")
    with pytest.raises(UserError, match=r"Two images are called 'a\.jpg'"):
        inputs.find([str(folder / "empty" / "t.csv"), str(folder / "photos" / "t.csv")])
