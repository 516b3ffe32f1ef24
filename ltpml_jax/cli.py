"""What the commands share: flags and `--help`, and errors as one sentence with exit status 2.

Neither this nor the top of a command's module imports anything heavy, so that `--help` and wrong flags answer at once.
"""

import argparse
import logging
import re
import signal
import sys
from collections.abc import Callable
from os.path import expanduser  # shells do not after the = of --workdir=~/run
from typing import Any, NamedTuple

from absl import flags
from absl import logging as absl_logging
from ml_collections import config_flags
from ml_collections.config_flags import tuple_parser

from ltpml_jax.commands import config_file
from ltpml_jax.errors import UserError, nearest
from ltpml_jax.runtime import preemption

DATA_DIR = "~/tensorflow_datasets"  # the default of config.data.dir
HELP = ("-h", "-help", "--help", "--helpshort", "--helpfull")


class Command(NamedTuple):
    """A command of `ltpml`.

    summary: one line; define: defines its flags; required: those that must be given; run: does the work of the parsed
    flags and raises UserError; problems: a sentence for each flag that the others contradict; note: the end of --help;
    words: the flag, of several values, that takes what is given without a flag; compiles: whether it runs programs that
    are worth keeping for the next process; remote: whether --out may be on another machine.
    """

    summary: str
    define: Callable[[flags.FlagValues], None]
    required: tuple[str, ...]
    run: Callable[[Any], None]
    problems: Callable[[Any], list[str]] = lambda values: []
    note: str = ""
    words: str = ""
    compiles: bool = False
    remote: bool = False


def start(name: str, command: Command, words: list[str]) -> None:
    """Run `ltpml NAME WORDS`; a UserError and wrong flags print one sentence and exit with 2, Ctrl-C exits with 130."""
    if any(word in HELP for word in words):
        print(help_text(name, command))
        return
    signal.signal(signal.SIGINT, preemption.end_at_once)
    try:
        values = parse(name, command, words)
        _log_to_stderr()
        if command.compiles:
            from ltpml_jax.runtime import compile_cache  # imports JAX

            compile_cache.enable()
        command.run(values)
    except UserError as error:
        fail(error)


def fail(error: UserError) -> None:
    """Print the sentence and exit with status 2."""
    print(f"error: {error}", file=sys.stderr, flush=True)
    sys.exit(2)


def parse(name: str, command: Command, words: list[str]) -> flags.FlagValues:
    """The flags of `ltpml NAME WORDS`; UserError names what is wrong, and all that is missing or contradictory."""
    values = flags.FlagValues()  # not absl's global ones: libraries define theirs there
    values.set_gnu_getopt(True)  # flags may stand after other words
    command.define(values)
    words = [_with_underscores(word, values) for word in words]
    if "config" in values:
        words = _load_config(values, words)
    try:
        rest = values([name, *words])
    except flags.UnrecognizedFlagError as error:
        raise UserError(
            f"There is no flag --{error.flagname}; did you mean --{_nearest_flag(error.flagname, values)}?"
        ) from None
    except flags.IllegalFlagValueError as error:
        raise UserError(_illegal(error, values)) from None
    except flags.Error as error:  # a flag at the end without its value
        raise UserError(f"{' '.join(str(error).split())}; write --FLAG=VALUE.") from None
    if command.words:
        values[command.words].value = [*(values[command.words].value or ()), *rest[1:]]
    elif rest[1:]:
        raise UserError(f"The argument {rest[1]!r} belongs to no flag; write --FLAG=VALUE.")
    problems = _expand(values, command)
    absent = [f"--{flag}" for flag in command.required if not values[flag].value]
    problems += command.problems(values)
    if absent:
        verb = "are" if len(absent) > 1 else "is"
        problems = [f"{' and '.join(absent)} {verb} missing; see `ltpml {name} --help`.", *problems]
    if problems:
        raise UserError(" ".join(problems))
    return values


def _expand(values: flags.FlagValues, command: Command) -> list[str]:
    """Put the home for ~ in --workdir and --out; a sentence for each that is a URL and may not be one."""
    problems = []
    for flag in (values[name] for name in ("workdir", "out") if name in values and values[name].present):
        given: Any = flag.value
        places = [expanduser(one) for one in (given if isinstance(given, list) else [given])]
        flag.value = places if isinstance(given, list) else places[0]
        url = next((place for place in places if "://" in place), None)
        if url is not None and not (command.remote and flag.name == "out"):
            problems.append(f"--{flag.name}={url} is a URL; mount it, and give a path.")
    return problems


def config_words(values: flags.FlagValues) -> dict[str, str]:
    """What made the config of parsed flags: --config and each --config.FIELD that was given, with its value as text."""
    fields = config_flags.get_override_values(values["config"])  # pyright: ignore[reportArgumentType]
    texts = {f"--config.{name}": field_text(value) for name, value in fields.items()}
    return {"--config": str(values["config"].help), **texts}  # _load_config keeps the argument there


def field_text(value: Any) -> str:
    """A config field's value as it is written on a command line."""
    return str(value).replace(" ", "") if isinstance(value, tuple | list) else str(value)


def help_text(name: str, command: Command) -> str:
    """What `ltpml NAME --help` prints: the command's own flags only."""
    values = flags.FlagValues()
    command.define(values)
    needed = [f"{flag.upper()}..." if flag == command.words else f"--{flag}=..." for flag in command.required]
    usage = " ".join(["ltpml", name, *needed, "[--FLAG=VALUE ...]"])
    parser = argparse.ArgumentParser(usage=usage, description=command.summary, epilog=command.note, add_help=False)
    group = parser.add_argument_group("flags")
    for flag in (values[each] for each in values):
        text = f"{flag.help} (default: {flag.default})" if flag.default else str(flag.help)
        value: dict[str, Any] = {"action": "store_true"} if flag.boolean else {"metavar": "VALUE"}
        group.add_argument(f"--{flag.name}", help=text.replace("%", "%%"), **value)
    return parser.format_help().rstrip()


def _with_underscores(word: str, values: flags.FlagValues) -> str:
    """--skip-bad as --skip_bad."""
    name, equals, value = word.lstrip("-").partition("=")
    known = name.replace("-", "_")
    return f"--{known}{equals}{value}" if word.startswith("-") and known != name and known in values else word


def _load_config(values: flags.FlagValues, words: list[str]) -> list[str]:
    """Replace the flag --config by the config of its file and by a flag for each field that `words` set.

    Returns the words that are left to parse; without --config, its fields are left out too. UserError for a file that
    makes no config, and for fields that the config does not have.
    """
    argument, rest, left = "", [], iter(words)
    for word in left:
        if word in ("--config", "-config"):
            argument = next(left, "")
        elif word.startswith(("--config=", "-config=")):
            argument = word.partition("=")[2]
        else:
            rest.append(word)
    fields = {word: match[1] for word in rest if (match := re.match(r"--?(?:no)?config\.([^=]*)", word))}
    if not argument:
        return [word for word in rest if word not in fields]
    config = config_file.load(argument)
    from ltpml_jax.config import check_names  # after the file: it imports JAX
    from ltpml_jax.config import fields as listed

    config_file.check_fields(argument.partition(":")[0], lambda: listed(config))
    check_names(fields.values(), config)
    del values.config
    config_flags.DEFINE_config_dict(
        "config", config, help_string=argument, flag_values=values, sys_argv=["ltpml", *rest]
    )
    return rest


def _nearest_flag(name: str, values: flags.FlagValues) -> str:
    """The flag that is most like `name`, or config.FIELD where that is still more like it."""
    if "config" not in values or not values["config"].value:
        return nearest(name, values)
    from ltpml_jax.config import fields, nearest_field

    own = [flag for flag in values if not flag.startswith("config.")]
    known = nearest_field(name, [*own, *fields(values["config"].value)])
    return known if known in own else f"config.{known}"


def _illegal(error: flags.IllegalFlagValueError, values: flags.FlagValues) -> str:
    """A sentence for absl's `flag --NAME=VALUE: REASON`."""
    name = str(error).removeprefix("flag --").partition("=")[0]
    reason = str(error.__context__)
    value = str(error).removeprefix(f"flag --{name}=").removesuffix(f": {reason}")
    parser = values[name].parser
    if isinstance(parser, flags.EnumParser):
        close = nearest(value, parser.enum_values)
        return f"--{name} is {value!r}; choose one of {', '.join(parser.enum_values)} (nearest: {close})."
    kinds = {flags.BooleanParser: "True or False", tuple_parser.TupleParser: "numbers in parentheses, as (0.5,2.0)"}
    wanted = kinds.get(type(parser)) or parser.syntactic_help or reason
    return f"--{name} is {value!r}; it must be {wanted}."


def _log_to_stderr() -> None:
    absl_logging.set_verbosity(absl_logging.ERROR)  # Orbax warns of every option and unranked checkpoint there
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("ltpml_jax")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    sys.unraisablehook = _without_late_reads


def _without_late_reads(unraisable: Any) -> None:
    # When a checkpoint cannot be read, Orbax leaves while other reads of it are under way; they then complain.
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)
