"""What a setting is: a field of a NamedTuple whose annotation holds its rule and its meaning.

    gamma: Annotated[float, above(0), "sharpening exponent"] = 3.0

A section of the config is such a NamedTuple. Methods declare their own beside their functions; config.py has the rest,
and reads defaults, rules and meanings from both.
"""

import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias, get_type_hints

# An ml_collections.ConfigDict with the sections of config.py. To a type checker each of its fields is a union of all
# that a config can hold; Any says the same and keeps the core importable without ml_collections.
Config: TypeAlias = Any
Range: TypeAlias = tuple[float, float]
LARGEST = sys.float_info.max
FREE = "may change when a run is resumed"  # the last word of an annotation: the result does not depend on the field


class Rule(NamedTuple):
    """What values a setting may have: `holds` says so of one, `wanted` says it in words; `choices` of named ones."""

    holds: Callable[[Any], bool]
    wanted: str
    choices: tuple[str, ...] = ()


class Used(NamedTuple):
    """In an annotation: the setting has an effect only where `by`, of its section, is one of `kinds`."""

    by: str
    kinds: tuple[str, ...]


class Setting(NamedTuple):
    """A declared setting; `free`: whether it may differ when a run is resumed; `used`: where, None: always."""

    default: Any
    rule: Rule
    meaning: str
    free: bool
    used: Used | None = None


def declared(section: Any) -> Mapping[str, Setting]:
    """The settings of a section (a NamedTuple class) by name."""
    hints = get_type_hints(section, include_extras=True)
    parts = {name: hints[name].__metadata__ for name in section._fields}
    return {
        name: Setting(
            section._field_defaults[name],
            rule,
            meaning,
            FREE in more,
            next((one for one in more if isinstance(one, Used)), None),
        )
        for name, (rule, meaning, *more) in parts.items()
    }


def above(low: float) -> Rule:
    """A finite number above `low`."""
    return Rule(lambda value: low < value <= LARGEST, f"a number above {low:g}")


def at_least(low: float) -> Rule:
    """A finite number that is `low` or more."""
    return Rule(lambda value: low <= value <= LARGEST, f"a number of {low:g} or more")


def between(low: float, high: float) -> Rule:
    """A number in [low, high]."""
    return Rule(lambda value: low <= value <= high, f"a number in [{low:.10g}, {high:.10g}]")


def one_of(*choices: str) -> Rule:
    """One of these words."""
    return Rule(lambda value: value in choices, f"one of {', '.join(choices)}", choices)


def low_high(low: float = 0.0, high: float = LARGEST) -> Rule:
    """A pair (first, second), first <= second, both in [low, high]."""
    wanted = (
        f"a range (low, high) within [{low:g}, {high:g}]" if high < LARGEST else f"a range (low, high) from {low:g} on"
    )
    return Rule(lambda pair: len(pair) == 2 and low <= pair[0] <= pair[1] <= high, wanted)


def _is_fold(text: str) -> bool:
    number, _, folds = text.partition("/")
    sizes = re.fullmatch(r"\d{1,6}/\d{1,6}", text, re.ASCII) and (int(number), int(folds))
    return not text or bool(sizes and 1 <= sizes[0] <= sizes[1] and sizes[1] >= 2)


FINITE = Rule(lambda value: abs(value) <= LARGEST, "a finite number")
SHARE = between(0, 1)
BELOW_ONE = Rule(lambda value: 0 <= value < 1, "a number in [0, 1)")
POSITIVE_SHARE = Rule(lambda value: 0 < value <= 1, "a number above 0 and up to 1")
TEXT = Rule(lambda value: "\0" not in value, "a text without NUL characters")
FOLD = Rule(_is_fold, '"" or k/K: the fold k of K, k from 1 to K and K at least 2')
SWITCH = Rule(lambda value: True, "True or False")
