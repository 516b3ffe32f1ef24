"""Files of corrections: what they change, and the sentence for each that does not go with the dataset."""

from pathlib import Path

import numpy as np
import pytest

from ltpml_jax.data.readers import corrections
from ltpml_jax.data.readers.corrections import Changes
from ltpml_jax.errors import UserError

NO, YES, MAYBE, UNKNOWN = 0, 1, 2, 3
IDS = {"train": ["a.jpg", 'say "b".jpg'], "test": ["t.jpg "]}  # with a blank, as VOC's ids may have
STATES = {
    "train": np.array([[YES, NO, MAYBE], [UNKNOWN, YES, NO]], np.int8),
    "test": np.array([[YES, NO, NO]], np.int8),
}
NAMES = ("cat", "a dog", "fox, red")


def applied(folder: Path, text: str, states=None) -> Changes:
    file = folder / "corrections.csv"
    file.write_text(text)
    table, rows = corrections.read(str(file))
    return corrections.apply(table, rows, "mine", NAMES, IDS, states or STATES)


FILE = (
    'id,class,state,was,note\na.jpg,cat,0,1,why\na.jpg,"fox, red",1,?,\n"say ""b"".jpg",cat,?,,\na.jpg,  a   dog ,,0,\n'
)


def test_each_state_can_become_another(tmp_path):
    found = applied(tmp_path, FILE)
    assert found.states["train"].tolist() == [[NO, UNKNOWN, YES], [MAYBE, YES, NO]]
    assert found.states["test"].tolist() == [[YES, NO, NO]] and STATES["train"][0, 0] == YES
    assert [(one.id, one.class_, one.was, one.state, one.note) for one in found.changed][:2] == [
        ("a.jpg", "cat", YES, NO, "why"),
        ("a.jpg", "fox, red", MAYBE, YES, ""),
    ]
    assert found.already == 0


def test_rows_that_a_spreadsheet_leaves_empty_count_for_nothing(tmp_path):
    found = applied(tmp_path, FILE.replace("\n", "\n,,,,\n"))
    assert found.states["train"].tolist() == applied(tmp_path, FILE).states["train"].tolist()


@pytest.mark.parametrize("rows", ["a.jpg,cat,0,1,\na.jpg,cat,0,,\n", "a.jpg,cat,0,,\na.jpg,cat,0,1,\n"])
def test_what_was_is_that_of_the_dataset_whatever_earlier_rows_say(tmp_path, rows):
    with pytest.raises(UserError, match="'cat' of 'a.jpg' is positive in mine, not unknown"):
        applied(tmp_path, f"id,class,state,was,note\n{rows}")


def test_twice_is_once(tmp_path):
    once = applied(tmp_path, FILE)
    twice = applied(tmp_path, FILE, once.states)
    np.testing.assert_array_equal(twice.states["train"], once.states["train"])
    assert twice.changed == [] and twice.already == 4


def test_a_confirmed_label_changes_nothing_and_words_and_splits_are_read(tmp_path):
    text = "split,id,class,was,state\ntest,t.jpg,cat,positive,Negative\n,a.jpg,cat,1,1\n,a.jpg,cat,1.0,true\n"
    found = applied(tmp_path, text)
    assert found.states["test"].tolist() == [[NO, NO, NO]] and len(found.changed) == 1 and found.already == 2


@pytest.mark.parametrize(
    "rows,message",
    [
        ("a.jpg,cat,0,0,\n", "line 2 of .*: 'cat' of 'a.jpg' is positive in mine, not negative; correct the dataset"),
        ("a.jpg,cat,0,1,\nb.jpg,cat,0,1,\n", "line 3 of .*: mine has no image 'b.jpg' in train; did you mean"),
        ("a.jpg,cow,0,1,\n", "mine has no class 'cow'; did you mean 'cat'?"),
        ("a.jpg,cat,maybe,1,\n", "'maybe' in the column 'state' is none of 1"),
        ("a.jpg,cat,0,9,\n", "'9' in the column 'was' is none of 1"),
        ("x.jpg,cat,0,1,\ny.jpg,cat,0,1,\n", "None of the ids in .* is one of mine; the file belongs to another"),
        ("a.jpg,cat,0,1,\na.jpg,cat,?,1,\n", "line 3 of .* decides otherwise on 'cat' of 'a.jpg' than line 2"),
    ],
)
def test_what_does_not_go_with_the_dataset_is_refused(tmp_path, rows, message):
    with pytest.raises(UserError, match=message) as refused:
        applied(tmp_path, "id,class,state,was,note\n" + rows)
    assert "\n" not in str(refused.value)


def test_columns_and_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(UserError, match="has no column 'was'; corrections have id, class, state, was"):
        applied(tmp_path, "id,class,state\na.jpg,cat,0\n")
    with pytest.raises(UserError, match="has a column 'Split'; call it 'split'"):
        applied(tmp_path, "id,class,state,was,Split\na.jpg,cat,0,1,train\n")
    with pytest.raises(UserError, match="mine has no split 'dev'"):
        applied(tmp_path, "id,class,state,was,split\na.jpg,cat,0,1,train\na.jpg,cat,0,1,dev\n")
    with pytest.raises(UserError, match="Cannot read .*none.csv .*; --corrections names a file"):
        corrections.read(str(tmp_path / "none.csv"))


def test_no_row_is_no_change(tmp_path):
    found = applied(tmp_path, "id,class,state,was,note\n")
    assert found.changed == [] and found.states["train"].tolist() == STATES["train"].tolist()
