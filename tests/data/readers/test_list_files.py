"""List and label files: what real ones look like is read, what is wrong is named with its line."""

import numpy as np
import pytest
from etils import epath

from ltpml_jax.data.readers.list_files import read_classes, read_images
from ltpml_jax.errors import UserError


@pytest.fixture
def file(tmp_path):
    def write(data: bytes | str) -> epath.Path:
        path = epath.Path(tmp_path / "list.txt")
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return write


def test_class_names_may_hold_blanks_and_lines_end_in_any_way(file):
    path = file("\ufeffperson 0\r\ntraffic light 1 \r\n\r\nhot_dog\t2\r\ntoothbrush   3")
    assert read_classes(path) == ("person", "traffic light", "hot_dog", "toothbrush")


def test_class_lines_may_be_in_any_order(file):
    assert read_classes(file("b 1\na 0\n")) == ("a", "b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 0\nb\n", "line 2: 'b' is not a class name and its index"),
        ("a 0\n1\n", "line 2: '1' is not"),
        ("a 0\n\nb 0\n", "line 3: the class 'b' or its index 0 is listed twice"),
        ("a 0\na 1\n", "line 2: the class 'a' or its index 1 is listed twice"),
        ("a 0\nb 2\n", "has no class 1; indices run from 0 to 1"),
        ("a 1\nb 2\n", "has no class 0"),
        (b"a 0\ncaf\xe9 1\n", "line 2: not UTF-8"),
        (" \r\n\n", "is empty"),
    ],
)
def test_wrong_label_files_are_named_with_their_line(file, text, message):
    with pytest.raises(UserError, match="list.txt") as caught:
        read_classes(file(text))
    assert message in str(caught.value)


def test_images_are_read_with_their_classes(file):
    found = read_images(file("x/a.jpg 0 2 \r\n\r\nx/b c.JPG\t1\r\nactor\\0001_2.png\ny/d.jpeg 2 2 0"), 3)
    assert found.paths == ["x/a.jpg", "x/b c.JPG", "actor/0001_2.png", "y/d.jpeg"]
    assert found.states.dtype == np.int8
    np.testing.assert_array_equal(found.states, [[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 0, 1]])
    assert found.without_label == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg 0\nb.jpg 3\n", "line 2: there is no class 3; the label file has 3"),
        ("a.jpg 0\nb.jpg -1\n", "line 2: 'b.jpg -1' is not an image path and class indices"),
        ("a.jpg 0\nb.jpg 1 x\n", "line 2: 'b.jpg 1 x' is not"),
        ("0 1\n", "line 1: '0 1' is not"),
        ("a.jpg 0\n\n\na.jpg 1\n", "line 4: a.jpg is on line 1 already"),
        (b"a.jpg 0\r\nb\xff.jpg 1\r\n", "line 2: not UTF-8"),
        ("a.jpg 0\nb\0.jpg 1\n", r"line 2: 'b\x00.jpg' holds a NUL character"),
        ("", "is empty"),
    ],
)
def test_wrong_lists_are_named_with_their_line(file, text, message):
    with pytest.raises(UserError, match="list.txt") as caught:
        read_images(file(text), 3)
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="absent.txt cannot be read"):
        read_images(epath.Path(tmp_path / "absent.txt"), 3)
