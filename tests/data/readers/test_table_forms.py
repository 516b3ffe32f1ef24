"""Own labels in the forms of others: CheXpert's values, a row for each label, other names of the image column."""

import pytest

from ltpml_jax.data.readers import tables
from ltpml_jax.errors import UserError
from tests.helpers.tables import MAYBE, NO, UNKNOWN, YES, read_csv, states_of


@pytest.mark.parametrize("name", tables.PATHS[1:])
def test_the_column_of_images_may_have_the_names_that_people_give_it(tmp_path, name):
    listing = read_csv(tmp_path, f"cat,{name}\n1,a.jpg\n?,b.jpg\n")
    assert listing.splits["train"].ids == ["a.jpg", "b.jpg"] and listing.class_names == ("cat",)
    assert listing.notes == [f"The images are those in the column {name!r}."]


def test_where_there_is_a_path_other_columns_are_classes(tmp_path):
    listing = read_csv(tmp_path, "path,image,Path\na.jpg,1,0\n")
    assert listing.class_names == ("image", "Path") and listing.notes == []
    with pytest.raises(UserError, match="has the columns 'filename' and 'image'; call the one that names the images"):
        read_csv(tmp_path, "image,filename\na.jpg,b.jpg\n")


@pytest.mark.parametrize(("minus_one", "state"), [("candidate", MAYBE), ("unknown", UNKNOWN), ("negative", NO)])
def test_chexperts_four_values(tmp_path, minus_one, state):
    (tmp_path / "labels.csv").write_text("Path,Edema,Pneumonia\na.jpg,1.0,-1.0\nb.jpg,0.0,\nc.jpg,-1,1\n")
    with pytest.raises(UserError, match="line 4 of .*: -1 in the column 'Edema' means .* choose --minus_one=candidate"):
        tables.read_table(str(tmp_path / "labels.csv"), "/photos")
    listing = tables.read_table(str(tmp_path / "labels.csv"), "/photos", minus_one=minus_one)
    assert states_of(listing) == [[YES, state], [NO, UNKNOWN], [state, YES]]


def test_minus_one_has_no_place_among_lists(tmp_path):
    (tmp_path / "labels.csv").write_text("path,labels\na.jpg,cat\n")
    with pytest.raises(UserError, match="no label is -1; leave --minus_one out"):
        tables.read_table(str(tmp_path / "labels.csv"), "/photos", "negative", "candidate")


LONG = "ImageID,class,value\nb.jpg,dog,1\na.jpg,cat,?\nb.jpg,cat,0\na.jpg,dog,-1\nb.jpg,dog,1\nc.jpg,ant,1\n"


def test_a_column_too_many_of_a_row_a_label_is_named(tmp_path):
    (tmp_path / "labels.csv").write_text("ImageID,Source,class,value\na.jpg,verified,dog,1\n")
    with pytest.raises(UserError, match="has a row a label .* and a column 'Source'; take 'Source' out"):
        tables.read_table(str(tmp_path / "labels.csv"), "/photos", "negative")


def test_lists_as_hugging_face_writes_them(tmp_path):
    (tmp_path / "metadata.csv").write_text('file_name,labels\na.png,"[""cat"", ""big dog""]"\nb.png,[]\nc.png,\n')
    lines = ['{"file_name": "a.png", "labels": ["cat", "big dog"]}', '{"file_name": "b.png", "labels": []}']
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    for name, count in (("metadata.csv", 3), ("metadata.jsonl", 2)):
        listing = tables.read_table(str(tmp_path / name), "/photos", "negative")
        assert listing.class_names == ("big dog", "cat")
        assert states_of(listing) == [[YES, YES], [NO, NO], [NO, NO]][:count]
    (tmp_path / "metadata.jsonl").write_text(lines[0] + '\n{"file_name": 3\n')
    with pytest.raises(UserError, match="metadata.jsonl is no file of JSON lines .*; correct that"):
        tables.read_table(str(tmp_path / "metadata.jsonl"), "/photos", "negative")


def test_a_row_a_label(tmp_path):
    (tmp_path / "labels.csv").write_text(LONG)
    listing = tables.read_table(str(tmp_path / "labels.csv"), "/photos", "unknown", "negative")
    assert listing.class_names == ("ant", "cat", "dog")
    assert listing.splits["train"].ids == ["b.jpg", "a.jpg", "c.jpg"]
    assert states_of(listing) == [[UNKNOWN, NO, YES], [UNKNOWN, MAYBE, NO], [YES, UNKNOWN, UNKNOWN]]
    with pytest.raises(UserError, match="line 2 of .* does not list the class 'ant'"):
        tables.read_table(str(tmp_path / "labels.csv"), "/photos", None, "negative")


def test_a_row_a_label_of_several_annotators_and_splits(tmp_path):
    text = (
        "path,annotator,split,class,value\na.jpg,x,train,cat,1\na.jpg,y,train,cat,0\na.jpg,x,train,dog,1\n"
        "t.jpg,x,test,cat,0\nt.jpg,x,test,dog,1\n"
    )
    listing = read_csv(tmp_path, text, "unknown")
    assert states_of(listing) == [[MAYBE, YES]] and states_of(listing, "test") == [[NO, YES]]


@pytest.mark.parametrize(
    "rows,message",
    [
        ("a.jpg,cat,1\na.jpg,cat,0\n", "line [23] of .* contradicts another row on 'cat' in its image; keep one"),
        ("a.jpg,cat,2\n", "'2' in the column 'value' is none of 1"),
        ("a.jpg,,1\n", "line 2 of .* names no class; fill in the column 'class'"),
    ],
)
def test_wrong_rows_of_labels(tmp_path, rows, message):
    with pytest.raises(UserError, match=message):
        read_csv(tmp_path, "path,class,value\n" + rows, "unknown")


def test_text_of_json_lines_that_looks_like_a_date_stays_as_it_was_written(tmp_path):
    lines = ('{"path":"a.png","split":"train","id":"2021-03-04","labels":["2021-03-04","2021-03-05"]}',
             '{"path":"b.png","split":"test","id":"2021-03-04T00:00:00Z","labels":["2021-03-05"]}')  # fmt: skip
    (tmp_path / "l.jsonl").write_text("\n".join(lines) + "\n")
    listing = tables.read_table(str(tmp_path / "l.jsonl"), "/photos", "negative")
    assert listing.class_names == ("2021-03-04", "2021-03-05")
    ids = {name: list(split.ids) for name, split in listing.splits.items()}
    assert ids == {"train": ["2021-03-04"], "test": ["2021-03-04T00:00:00Z"]}


def test_a_class_of_a_reserved_name_is_named_with_what_can_be_done(tmp_path):
    (tmp_path / "l.csv").write_text("path,split,cat,unknown\na.png,train,1,0\n")
    with pytest.raises(
        UserError, match=r"has 'unknown', a column of lists .* 'cat'; call it .* give that another name"
    ):
        tables.read_table(str(tmp_path / "l.csv"), "/photos")
