"""What the commands share: flag parsing, logging, and errors as one sentence with exit status 2."""

import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import jax
from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from ltpml_jax.config import check_names
from ltpml_jax.errors import SharedError, UserError
from ltpml_jax.runtime import processes, watchdog
from ltpml_jax.runtime.preemption import EXIT_STATUS, PreemptedError


def launch(main: Callable[[list[str]], None], required: tuple[str, ...]) -> None:
    """Parse the flags and run `main`; UserErrors and wrong flags print one sentence and exit with 2."""
    try:
        app.run(lambda argv: _guarded(main, argv), flags_parser=lambda argv: parse(argv, required))
    except UserError as error:  # from the parser; absl runs `main` outside of what it catches
        fail(error)


def parse(argv: list[str], required: tuple[str, ...]) -> list[str]:
    """Parse the command line; raises UserError for anything wrong in it."""
    try:
        if "config" in flags.FLAGS:
            check_overrides(argv)
        rest = flags.FLAGS(argv)
    except UserError:
        raise
    except Exception as error:  # a config file is a program of the user's, and can fail in any way
        raise UserError(_sentence(error)) from None
    if rest[1:]:
        raise UserError(f"The argument {rest[1]!r} belongs to no flag; write --FLAG=VALUE.")
    for name in required:
        if not flags.FLAGS[name].value:
            raise UserError(f"--{name} is missing; see the command in the README.")
    return rest


def check_overrides(argv: list[str]) -> None:
    """Raise UserError for a --config.FIELD that the config file does not have, with the nearest that it has."""
    alone = [argv[0]]
    for word, following in zip(argv[1:], [*argv[2:], ""], strict=False):
        if word.lstrip("-").startswith("config="):
            alone = [argv[0], word]
        elif word.lstrip("-") == "config":
            alone = [argv[0], word, following]
    scratch = flags.FlagValues()  # the file without its overrides, to know its fields
    config_flags.DEFINE_config_file("config", flag_values=scratch, sys_argv=alone)
    scratch(alone)
    if scratch["config"].value is not None:
        names = [word.lstrip("-").partition("=")[0] for word in argv[1:] if word.startswith("-")]
        overridden = [name.removeprefix("config.") for name in names if name.startswith("config.")]
        check_names(overridden, scratch["config"].value)


def fail(error: UserError) -> None:
    """Print the sentence, exit with status 2; what all processes of a run say alike, the first one says."""
    shared = isinstance(error, SharedError)
    if not shared or processes.is_first():
        print(f"error: {error}", file=sys.stderr, flush=True)
    if not shared:
        leave()
    sys.exit(2)


def leave() -> None:
    """End this process at once, where the others would wait for it: Python's way out would wait for them."""
    if jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(2)


def _guarded(main: Callable[[list[str]], None], argv: list[str]) -> None:
    absl_logging.set_verbosity(absl_logging.ERROR)  # Orbax warns of every option and unranked checkpoint there
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("ltpml_jax")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    sys.unraisablehook = _without_late_reads
    try:
        main(argv)
    except UserError as error:
        fail(error)
    except PreemptedError:
        if processes.is_first():
            print("SIGTERM: the run is saved; the same command goes on from there.", file=sys.stderr, flush=True)
        sys.exit(EXIT_STATUS)
    except Exception as error:
        if not jax.distributed.is_initialized():
            raise
        traceback.print_exc()
        watchdog.give_up(f"{processes.name()} failed ({type(error).__name__})")


def _without_late_reads(unraisable: Any) -> None:
    # When a checkpoint cannot be read, Orbax leaves while other reads of it are under way; they then complain.
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _sentence(error: Exception) -> str:
    """What config_flags means; it wraps what a config file raises, traceback and all, in a message of its own."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    _, _, ours = lines[-1].partition(f"{UserError.__name__}: ")
    if ours:
        return ours
    if isinstance(error, OSError):
        cause = lines[-1].rpartition("failure to load: ")[2]
        return f"The config file cannot be read ({cause}); give the path of one as --config=FILE.py[:ARGUMENT]."
    return " ".join(dict.fromkeys([lines[0], lines[-1]]))
