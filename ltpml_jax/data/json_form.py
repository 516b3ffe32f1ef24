"""What a JSON value of a file must be like before it is used: predicates, and predicates made of predicates."""

from collections.abc import Callable
from typing import Any

from ltpml_jax.data.locations import unwritable

Fits = Callable[[Any], bool]


def text(value: Any) -> bool:
    """A string that a file's name or content can hold: no NUL, no half of a character."""
    return isinstance(value, str) and not unwritable(value)


def number(value: Any) -> bool:
    """A finite number below 2**63."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63


def whole(value: Any) -> bool:
    """A whole number below 2**63."""
    return number(value) and isinstance(value, int)


def list_of(fits: Fits) -> Fits:
    """A list of such values."""
    return lambda value: isinstance(value, list) and all(map(fits, value))


def named(fits: Fits) -> Fits:
    """An object of such values, whatever its names."""
    return lambda value: isinstance(value, dict) and all(map(text, value)) and all(map(fits, value.values()))


def record(fields: dict[str, Fits]) -> Fits:
    """An object with such fields, and perhaps others."""
    return lambda value: isinstance(value, dict) and all(fits(value.get(name)) for name, fits in fields.items())
