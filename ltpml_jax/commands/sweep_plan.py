"""Which runs a sweep has: every combination of the grid's values and the seeds, checked before any of them begins."""

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ltpml_jax import cli
from ltpml_jax.commands import train
from ltpml_jax.errors import UserError

SEEDS = ("seed", "data.candidate_seed")  # the fields that a seed sets
ARGUMENT = "config"  # in place of a field: what stands after the colon of --config
RULE = "values are separated by commas outside parentheses, or by semicolons where there is one"
_LONGEST = 40  # letters of a value in a folder's name


class SweepRun(NamedTuple):
    """A run of a sweep: its folder's name, the fields that the sweep sets, the words of `ltpml train`."""

    name: str
    fields: dict[str, Any]
    words: list[str]


def plan(values: Any, out: Path) -> list[SweepRun]:
    """The runs of `ltpml sweep`'s parsed flags, the last grid field and then the seeds changing fastest.

    Raises UserError for a field or value that cannot be, and for a folder that belongs to another config.
    """
    base, grid = cli.config_words(values), parse_grid(values.grid)
    seeds = split_values("--seeds", values.seeds) if values.seeds else []
    _check_fields(values, base, [*grid, *(SEEDS if seeds else ())])
    short = _short_names(list(grid))
    axes = [[{field: text} for text in texts] for field, texts in grid.items()]
    axes += [[dict.fromkeys(SEEDS, text) for text in seeds]] if seeds else []
    runs = [_run(base, dict(pair for part in parts for pair in part.items()), short, out)
            for parts in itertools.product(*axes)]  # fmt: skip
    twice = [name for name, count in Counter(run.name for run in runs).items() if count > 1]
    if twice:
        raise UserError(f"The sweep has the run {twice[0]!r} twice; give each value of --grid and --seeds once.")
    return runs


def parse_grid(flags: Sequence[str]) -> dict[str, list[str]]:
    """Values by field of `FIELD=VALUE,VALUE...`; UserError where one has no field or value, or a field comes twice."""
    grid: dict[str, list[str]] = {}
    for flag in flags:
        field, equals, text = flag.partition("=")
        field = field.strip().removeprefix("--").removeprefix("config.")
        if not equals or not field:
            raise UserError(f"--grid is {flag!r}; write --grid FIELD=VALUE,VALUE,...: {RULE}.")
        if field in grid:
            raise UserError(f"--grid names the field {field!r} twice; give all its values in one --grid.")
        grid[field] = split_values(f"--grid {field}", text)
    return grid


def split_values(flag: str, text: str) -> list[str]:
    """The values in a text, as RULE says; one empty value stands for an empty text, and one at the end is none."""
    if ";" in text:
        parts = text.removesuffix(";").split(";")
    else:
        ends = [place for place, letter in enumerate(text) if letter == "," and _outside(text[:place])]
        parts = [text[start + 1 : end] for start, end in itertools.pairwise([-1, *ends, len(text)])]
    parts = [part.strip() for part in parts]
    if len(set(parts)) < len(parts):
        twice = next(part for part, count in Counter(parts).items() if count > 1)
        raise UserError(f"{flag} names {twice!r} twice; name each value once ({RULE}).")
    return parts


def _outside(before: str) -> bool:
    return before.count("(") <= before.count(")")


def _check_fields(values: Any, base: dict[str, str], swept: list[str]) -> None:
    from ltpml_jax.config import check_names

    check_names([field for field in swept if field != ARGUMENT], values.config)
    for field, count in Counter(swept).items():
        if count > 1:
            raise UserError(f"--seeds sets {field}, and so does --grid; leave one of the two out.")
        if f"--config.{field}" in base:
            raise UserError(f"The sweep sets {field}, and so does --config.{field}; leave one of the two out.")


def _run(base: dict[str, str], fields: dict[str, str], short: dict[str, str], out: Path) -> SweepRun:
    """One run, whose config is checked; UserError where it cannot be."""
    from ltpml_jax.config import fields as all_fields
    from ltpml_jax.config import settings, validate
    from ltpml_jax.data.field_rules import check_used
    from ltpml_jax.methods.all_methods import METHODS, SECTIONS
    from ltpml_jax.optimizer import check_texts
    from ltpml_jax.workdir import FILE, differences, saved_config

    given = base | {f"--config.{field}": text for field, text in fields.items() if field != ARGUMENT}
    if ARGUMENT in fields:
        given["--config"] = f"{base['--config'].partition(':')[0]}:{fields[ARGUMENT]}"
    words = [f"{flag}={text}" for flag, text in given.items()]
    config = cli.parse("train", train.COMMAND, [*words, "--workdir=."]).config
    validate(config)
    check_used(config, settings())
    check_texts(config)
    read = METHODS[config.method.name].sections if config.method.name in METHODS else SECTIONS
    for field in fields:
        if (section := field.partition(".")[0]) in SECTIONS and section not in read:
            raise UserError(f"The sweep varies {field}, which config.method.name={config.method.name} does not read.")
    known = all_fields(config) | {ARGUMENT: fields.get(ARGUMENT)}
    found = {field: known[field] for field in fields}
    shown = {label: found[field] for field, label in short.items()}
    if SEEDS[0] in found:
        shown["seed"] = found[SEEDS[0]]
    name = ",".join(f"{label}={value_name(value)}" for label, value in shown.items())
    workdir = out / name
    if (workdir / FILE).exists() and (changed := differences(saved_config(workdir), config)):
        raise UserError(
            f"{workdir} belongs to a run of another config ({'; '.join(changed)}); give another --out, "
            "or the command of that sweep."
        )
    return SweepRun(name, found, [*words, f"--workdir={workdir}"])


def value_name(value: Any) -> str:
    """A value as part of a folder's name; a text that is long, or has letters that a name should not, gets a hash."""
    text = cli.field_text(value)
    plain = re.sub(r"[^\w.+-]+", "_", text, flags=re.ASCII).strip("_")
    if len(plain) <= _LONGEST and (plain == text or not isinstance(value, str)):
        return plain
    return f"{plain[:_LONGEST]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _short_names(grid: list[str]) -> dict[str, str]:
    """What stands for a field in a folder's name: its last part, or all of it where another has the same."""
    last = {field: field.rpartition(".")[2] for field in grid}
    often = Counter([*last.values(), *({"seed"} - set(grid))])
    return {field: part if often[part] == 1 else field for field, part in last.items()}
