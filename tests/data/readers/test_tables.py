"""Own labels in CSV and Parquet files: what each spelling means, and the sentence for each mistake."""

import importlib.util

import numpy as np
import pyarrow as pa
import pytest

from ltpml_jax.data.readers import tables, text_table
from ltpml_jax.errors import UserError
from tests.helpers.tables import MAYBE, NO, UNKNOWN, YES, read_csv, read_parquet, states_of


def test_one_column_a_class_has_four_states_and_keeps_the_order_of_the_header(tmp_path):
    listing = read_csv(tmp_path, "zebra,path,apple\n1,a.jpg,0\n?,b/c.jpg,\n")
    assert listing.class_names == ("zebra", "apple")
    assert states_of(listing) == [[YES, NO], [MAYBE, UNKNOWN]]
    assert listing.splits["train"].states.dtype == np.int8
    assert listing.splits["train"].paths == ["/photos/a.jpg", "/photos/b/c.jpg"]
    assert listing.splits["train"].ids == ["a.jpg", "b/c.jpg"]


def test_a_class_without_any_positive_stays_a_class(tmp_path):
    listing = read_csv(tmp_path, "path,cat,dog\na.jpg,1,\nb.jpg,1,\n")
    assert listing.class_names == ("cat", "dog") and states_of(listing) == [[YES, UNKNOWN]] * 2


def test_lists_have_four_states_and_sorted_classes(tmp_path):
    text = "path,positive,candidates,negative,unknown\na.jpg,dog;cat,ant,bee,\nb.jpg,,,ant;bee;cat,dog\n"
    listing = read_csv(tmp_path, text)
    assert listing.class_names == ("ant", "bee", "cat", "dog")
    assert states_of(listing) == [[MAYBE, NO, YES, YES], [NO, NO, NO, UNKNOWN]]


@pytest.mark.parametrize(("unlisted", "state"), [("negative", NO), ("unknown", UNKNOWN)])
def test_what_a_row_does_not_list_is_what_the_caller_says(tmp_path, unlisted, state):
    listing = read_csv(tmp_path, "path,labels\na.jpg,cat\nb.jpg,dog; cat ;\nc.jpg,\n", unlisted)
    assert states_of(listing) == [[YES, state], [YES, YES], [state, state]]


def test_what_a_row_does_not_list_is_never_silently_negative(tmp_path):
    with pytest.raises(
        UserError, match=r"line 3 .*does not list the class 'cat'.*--unlisted=negative.*--unlisted=unknown"
    ):
        read_csv(tmp_path, "path,labels\na.jpg,cat;dog\nb.jpg,dog\n")
    with pytest.raises(UserError, match="--unlisted is 'maybe'"):
        read_csv(tmp_path, "path,labels\na.jpg,cat\nb.jpg,dog\n", "maybe")


def test_bom_crlf_blank_lines_quotes_commas_and_unicode_are_read(tmp_path):
    text = '\ufeffpath,"cup, mug","say ""hi""",Fußgänger\r\n\r\n"a, b.jpg", 1 ,0,?\r\n\r\nc.jpg,,1,0\r\n\r\n'
    listing = read_csv(tmp_path, text)
    assert listing.class_names == ("cup, mug", 'say "hi"', "Fußgänger")
    assert listing.splits["train"].paths == ["/photos/a, b.jpg", "/photos/c.jpg"]
    assert states_of(listing) == [[YES, NO, MAYBE], [UNKNOWN, YES, NO]]


def test_names_that_look_the_same_are_one_class(tmp_path):
    listing = read_csv(tmp_path, "path,labels\na.jpg,caf\u00e9;ice  cream\nb.jpg,cafe\u0301; ice cream\n", "negative")
    assert listing.class_names == ("café", "ice cream") and states_of(listing) == [[YES, YES], [YES, YES]]


def test_classes_that_case_alone_tells_apart_are_noted(tmp_path):
    listing = read_csv(tmp_path, "path,cat,Dog,Cat\na.jpg,1,0,?\n")
    assert listing.class_names == ("cat", "Dog", "Cat")
    assert listing.notes == ["The classes 'cat' and 'Cat' differ in upper and lower case alone; they are kept apart."]


def test_names_are_never_taken_for_numbers_or_gaps(tmp_path):
    listing = read_csv(tmp_path, "path,labels\n1.jpg,007;NA\n2.jpg,null;1e3\n", "negative")
    assert listing.class_names == ("007", "1e3", "NA", "null")


def test_another_separator_is_noted(tmp_path):
    listing = read_csv(tmp_path, "path,labels\na.jpg,cat|dog\nb.jpg,bee\n", "negative")
    assert listing.class_names == ("bee", "cat|dog")
    assert listing.notes == ["Class names that hold '|', as 'cat|dog' does: 1. What separates names is ';'."]


def test_splits_ids_and_the_order_of_rows_are_kept(tmp_path):
    text = "split,path,id,cat\ntest,a.jpg,7,1\ntrain,b.jpg,8,0\nvalidation,c.jpg,9,?\ntrain,d.jpg,7b,1\n"
    listing = read_csv(tmp_path, text)
    assert {name: split.ids for name, split in listing.splits.items()} == {
        "train": ["8", "7b"], "validation": ["9"], "test": ["7"],
    }  # fmt: skip
    assert states_of(listing) == [[NO], [YES]] and states_of(listing, "test") == [[YES]]


def test_absolute_paths_and_urls_stay_and_relative_ones_are_tidied(tmp_path, bucket):
    listing = read_csv(tmp_path, "path,cat\n/else/a.jpg,1\ngs://bucket//b.jpg,1\n./x/../c.jpg,0\n")
    assert listing.splits["train"].paths == ["/else/a.jpg", "gs://bucket//b.jpg", "/photos/c.jpg"]


def test_annotators_agree_disagree_or_do_not_look(tmp_path):
    text = (
        "path,annotator,all,none,some,unsure,one,unjudged\n"
        "b.jpg,ann,1,0,1,?,1,\n"
        "a.jpg,ann,0,0,0,0,0,0\n"
        "b.jpg,bob,1,0,0,1,,\n"
        "b.jpg,cho,1,0,1,1,,\n"
    )
    listing = read_csv(tmp_path, text)
    assert listing.splits["train"].paths == ["/photos/b.jpg", "/photos/a.jpg"]
    assert states_of(listing) == [[YES, NO, MAYBE, MAYBE, YES, UNKNOWN], [NO] * 6]
    assert listing.splits["train"].disagreements.tolist() == [[0, 2, 2, 1]]


def test_disagreements_go_with_the_images_of_their_split(tmp_path):
    text = (
        "path,annotator,split,cat,dog\nz.jpg,x,test,1,1\na.jpg,x,train,1,1\nb.jpg,x,train,0,1\nb.jpg,y,train,1,1\n"
        "c.jpg,x,test,0,0\nc.jpg,y,test,1,\nc.jpg,z,test,0,?\n"
    )
    listing = read_csv(tmp_path, text)
    assert listing.splits["train"].disagreements.tolist() == [[1, 0, 1, 1]]
    assert listing.splits["test"].disagreements.tolist() == [[1, 0, 1, 2]]


def test_parquet_has_lists_numbers_truth_values_and_categories(tmp_path):
    listing = read_parquet(
        tmp_path, {"path": ["a", "b"], "labels": [["x y", "ü;"], None], "negative": [[], ["x y", "ü;"]]}
    )
    assert listing.class_names == ("x y", "ü;") and states_of(listing) == [[YES, YES], [NO, NO]]
    columns = {
        "path": pa.array(["a", "b", "c"]).dictionary_encode(),
        "split": ["train", "test", "train"],
        "i": pa.array([1, 0, None], pa.int8()),
        "f": pa.array([1.0, None, 0.0]),
        "b": [True, False, None],
        "s": ["?", "1", None],
    }
    listing = read_parquet(tmp_path, columns)
    assert states_of(listing) == [[YES, YES, YES, MAYBE], [UNKNOWN, NO, UNKNOWN, UNKNOWN]]
    assert states_of(listing, "test") == [[NO, UNKNOWN, NO, YES]]


def test_parquet_mistakes_name_the_row_or_the_column(tmp_path):
    with pytest.raises(UserError, match="row 2 of .*'2' in the column 'cat'"):
        read_parquet(tmp_path, {"path": ["a", "b"], "cat": [1, 2]})
    with pytest.raises(UserError, match="'labels' of .* holds lists of int64; write class names as strings"):
        read_parquet(tmp_path, {"path": ["a"], "labels": [[3]]}, "negative")
    with pytest.raises(UserError, match="'labels' of .* holds a null"):
        read_parquet(tmp_path, {"path": ["a"], "labels": [["x", None]]}, "negative")
    with pytest.raises(UserError, match="'path' of .* holds struct"):
        read_parquet(tmp_path, {"path": [{"a": 1}], "cat": [1]})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "neither Parquet nor a UTF-8 CSV file"),
        ("path,cat\n", "lists no image"),
        ("path\na.jpg\n", "names no class"),
        ("path,labels\na.jpg,;\n", "names no class"),
        ("path;cat\na.jpg;1\n", "has ';' between its columns; save it with commas"),
        ("path\tcat\na.jpg\t1\n", r"has '\\t' between its columns; save it with commas"),
        ("path,cat,cat\na.jpg,1,0\n", "two columns 'cat'"),
        (",path,cat\n0,a.jpg,1\n", "Column 1 of .* has no name; .*index=False"),
        ("path,cat\na.jpg,1\n\nb.jpg,2\n", r"line 4 of .*: '2' in the column 'cat' is none of 1 \(positive\)"),
        ("path,cat,dog\na.jpg,1,0\n\nb.jpg,1\n", "Line 4 of .* has 2 fields, the header 3; fill the row in"),
        ("path,cat\na, b.jpg,1\n", "Line 2 of .* has 3 fields, the header 2; .* around what holds a comma"),
        ("path,cat\na.jpg,1\n,1\n", "line 3 of .* names no image"),
        ("path,cat\na.jpg,1\n./a.jpg,0\n", "lists the image /photos/a.jpg twice"),
        ("path,cat\n../a.jpg,1\n", "line 2 of .*: '../a.jpg' leaves the folder"),
        (
            "path,cat\na.jpg,1\nhttp://x.org/b.jpg,1\n",
            "line 3 of .* is about http://x.org/b.jpg, which is an address that cannot",
        ),
        ("path,cat\n://b.jpg,1\n", "line 2 of .* is about ://b.jpg, which is an address that cannot"),
        ("path,cat\na.jpg,1\nb\0.jpg,1\n", r"line 3 of .*: 'b\\x00.jpg' holds a NUL character"),
        ("path,id,cat\na.jpg,x\0,1\n", r"gives an image the id 'x\\x00', which holds a NUL character"),
        ("path,c\0at\na.jpg,1\n", r"the class 'c\\x00at', which holds a NUL character"),
        ("path,c\x1bat\na.jpg,1\n", r"the class 'c\\x1bat', which holds a control character"),
        ("path,id,cat\na.jpg,1,1\nb.jpg,1,0\n", "the id '1' to two images"),
        ("path,split,cat\na.jpg,train,1\nb.jpg,val,1\n", r"line 3 of .* split 'val'; .*\(validation\?\)"),
        ("path,split,cat\na.jpg,test,1\n", "no image to train on"),
        ("path,positive,candidate\na.jpg,cat,dog\n", "a column 'candidate'; call it 'candidates'"),
        ("path,positive,negative\na.jpg,cat,dog;cat\n", "line 2 of .* says that 'cat' is positive and negative"),
        ("path,annotator,cat\na.jpg,ann,1\na.jpg,ann,0\n", "line 3 of .* is the second by its annotator"),
        ("path,annotator,split,cat\na.jpg,1,train,1\na.jpg,2,test,0\n", "line 3 of .* another split than"),
    ],
)
def test_mistakes_are_named(tmp_path, text, sentence):
    with pytest.raises(UserError, match=sentence):
        read_csv(tmp_path, text)


def test_rows_without_anything_are_left_out_and_places_stay_those_of_the_file(tmp_path):
    text = "path,cat,dog\na.jpg,1,0\n,,\nb.jpg,0,?\n , ,\n,,\n"
    assert states_of(read_csv(tmp_path, text)) == [[YES, NO], [NO, MAYBE]]
    with pytest.raises(UserError, match="line 4 .*'x' in the column 'dog'"):
        read_csv(tmp_path, text.replace("0,?", "0,x"))
    with pytest.raises(UserError, match="line 3 .* names no image"):
        read_csv(tmp_path, text.replace("\n,,\nb", "\n,1,\nb"))
    with pytest.raises(UserError, match="line 3 .* contradicts"):
        read_csv(tmp_path, "path,class,value\n,,\na.jpg,cat,1\n,,\na.jpg,cat,0\n,,\n")


@pytest.mark.parametrize("cell", ["['cat', 'dog']", "[]", "[cat]"])
def test_lists_in_brackets_that_are_not_of_json_are_refused(tmp_path, cell):
    with pytest.raises(UserError, match=r"line 3 .* in the column 'labels' is no list of names between semicolons"):
        read_csv(tmp_path, f'path,labels\na.jpg,cat;dog\nb.jpg,"{cell}"\n', "negative")
    with pytest.raises(UserError, match=r"line 2 .* in the column 'labels' is no list of names"):
        read_csv(tmp_path, f'path,labels\na.jpg,"[""cat""]"\nb.jpg,"{cell}"\nc.jpg,cat\n', "negative")


def test_arrow_reads_from_memory_of_its_own():
    """Of Python's bytes, a thread of its reader could be the last owner while Python ends: SIGABRT after the error."""
    content = b"path,cat\na.jpg,1\n"
    file = text_table._file(content)
    assert file.read_buffer().address != np.frombuffer(content, np.uint8).ctypes.data
    assert pa.BufferReader(content).read_buffer().address == np.frombuffer(content, np.uint8).ctypes.data
    file.seek(0)
    assert file.read() == content


def test_blank_lines_before_the_header_count_for_nothing(tmp_path):
    assert states_of(read_csv(tmp_path, "\n\npath,cat\n\na.jpg,1\n")) == [[YES]]
    with pytest.raises(UserError, match="line 4 of .*: '2' in the column 'cat'"):
        read_csv(tmp_path, "\n\npath,cat\na.jpg,2\n")


def test_other_encodings_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(UserError, match="neither Parquet nor a UTF-8 CSV"):
        read_csv(tmp_path, "path,Fußgänger\na.jpg,1\n".encode("latin-1"))
    with pytest.raises(UserError, match="neither Parquet nor a UTF-8 CSV"):
        read_csv(tmp_path, b"path,cat\nF\xfc.jpg,1\n")
    with pytest.raises(UserError, match="neither Parquet nor a UTF-8 CSV"):
        read_csv(tmp_path, b"PAR1 but no more")
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(UserError, match=f"Cannot read {path} .*--csv names"):
            tables.read_table(str(path), "")


def test_class_columns_take_no_choice_of_what_is_unlisted(tmp_path):
    with pytest.raises(UserError, match="leave --unlisted out"):
        read_csv(tmp_path, "path,cat\na.jpg,1\n", "negative")


def test_line_breaks_in_quotes_do_not_shift_rows_or_line_numbers(tmp_path):
    rows = "".join(f'"{number}.jpg","cat{chr(10)}fish"\n' for number in range(40000))
    listing = read_csv(tmp_path, "path,labels\n" + rows, "negative")
    assert listing.class_names == ("cat fish",) and len(listing.splits["train"].ids) == 40000
    with pytest.raises(UserError, match="line 5 of .*'x'"):
        read_csv(tmp_path, 'path,"cat\n",dog\n"a.jpg",1,1\nb.jpg,1,x\n'.replace('"a.jpg"', '"a\n.jpg"'))


def test_a_hundred_thousand_rows_take_seconds(tmp_path):
    labels = np.random.default_rng(0).integers(0, 2, (100_000, 20))
    text = "path," + ",".join(f"c{number}" for number in range(20)) + "\n"
    text += "".join(f"{row}.jpg,{','.join(map(str, line))}\n" for row, line in enumerate(labels.tolist()))
    np.testing.assert_array_equal(read_csv(tmp_path, text).splits["train"].states, labels)


def test_images_on_other_machines_need_a_client(tmp_path):
    pytest.importorskip("fsspec")
    if importlib.util.find_spec("s3fs"):
        pytest.skip("s3fs is installed")
    with pytest.raises(
        UserError, match="line 2 of .* is about s3://bucket/a.jpg, which needs a client that is not installed"
    ):
        read_csv(tmp_path, "path,cat\ns3://bucket/a.jpg,1\ns3://bucket/b.jpg,1\n")
    (tmp_path / "relative.csv").write_text("path,cat\na.jpg,1\n")
    with pytest.raises(
        UserError, match="line 2 of .* is about s3://bucket/a.jpg, which needs a client that is not installed"
    ):
        tables.read_table(str(tmp_path / "relative.csv"), "s3://bucket")


@pytest.mark.parametrize("path", ["http://x.org/labels.csv", "/dev/zero"])
def test_a_table_that_is_no_regular_file_is_refused(path):
    with pytest.raises(UserError, match=f"{path}.*(an address that cannot be opened as a file|no regular file)"):
        tables.read_table(path, "")
