"""What benchmarks take as words, and what they say of others."""

import argparse

import pytest

from benchmarks import words


def test_words_that_can_be_meant():
    assert words.names(["bce", "cls"])("cls,bce") == ["cls", "bce"]
    assert words.seeds("0,12") == [0, 12] and words.count("3") == 3
    assert words.labels("0.3;left=0.6;single") == ["0.3", "left=0.6", "single"]


WRONG = {
    "clss": (words.names(["bce", "cls"]), "there is no 'clss'; did you mean 'cls'"),
    "cls,": (words.names(["bce", "cls"]), "there is no ''"),
    "0,x": (words.seeds, "'0,x' are no seeds"),
    "-1": (words.seeds, "'-1' are no seeds"),
    "0": (words.count, "'0' is no whole number from 1"),
    "0.3;abc": (words.labels, "colon are 'abc'; give a number"),
}


@pytest.mark.parametrize("text", WRONG)
def test_others_are_named(text):
    parse, sentence = WRONG[text]
    with pytest.raises(argparse.ArgumentTypeError, match=sentence):
        parse(text)
