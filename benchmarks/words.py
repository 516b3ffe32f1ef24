"""Argparse types of the words that benchmarks take: what is wrong is named before anything is measured."""

import argparse
from collections.abc import Callable, Iterable

from ltpml_jax.errors import UserError, nearest
from ltpml_jax.recipes.argument import parse_argument


def names(valid: Iterable[str]) -> Callable[[str], list[str]]:
    """Of names with commas between them, each one of `valid`."""
    known = list(valid)

    def parse(text: str) -> list[str]:
        for name in text.split(","):
            if name not in known:
                raise argparse.ArgumentTypeError(f"there is no {name!r}; did you mean {nearest(name, known)!r}?")
        return text.split(",")

    return parse


def seeds(text: str) -> list[int]:
    """Of whole numbers from 0, with commas between them."""
    if not all(part.isdecimal() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} are no seeds; give whole numbers with commas, as 0,1,2")
    return [int(part) for part in text.split(",")]


def count(text: str) -> int:
    """Of a whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def labels(text: str) -> list[str]:
    """Of config arguments, with semicolons between them."""
    for argument in text.split(";"):
        try:
            parse_argument(argument, partial_rate=0.3)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return text.split(";")
