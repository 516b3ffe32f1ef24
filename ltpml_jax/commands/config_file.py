"""Config files: programs of the user's. Whatever goes wrong in one is reported with file, line and kind of error."""

import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict

from ltpml_jax.errors import UserError

GIVE = "give the path of one as --config=FILE.py[:ARGUMENT]"


def load(argument: str) -> ConfigDict:
    """The config that FILE.py[:ARGUMENT] names: what get_config, or get_config(ARGUMENT), of the file returns.

    Raises UserError where the file is missing, is not Python, fails, exits, or makes anything but a ConfigDict.
    """
    path, colon, text = argument.partition(":")
    module = ModuleType("config_file")
    module.__file__ = path
    sys.modules["config_file"] = module  # dataclasses, for one, are looked up there
    code = _compile(path)
    _call(path, lambda: exec(code, vars(module)))
    get_config = getattr(module, "get_config", None)
    if not callable(get_config):
        raise UserError(f"The config file {path} has no function get_config; it needs one that returns the config.")
    arguments = [text] if colon else []
    signature = _call(path, lambda: inspect.signature(get_config))  # some of C have none
    try:
        signature.bind(*arguments)
    except TypeError:
        given = f"{text!r} for its argument; leave that out" if colon else "no argument after a colon; give one"
        raise UserError(f"The config file {path} has get_config{signature}, but --config gives {given}.") from None
    config = _call(path, lambda: get_config(*arguments))
    if not isinstance(config, ConfigDict) or isinstance(config, FrozenConfigDict) or not len(config):
        kind = "None" if config is None else f"a {type(config).__name__}"
        kind += " without fields" if isinstance(config, ConfigDict) and not len(config) else ""
        make = "return a ConfigDict with fields, as ltpml_jax.default_config() makes one"
        raise UserError(f"get_config of the config file {path} returns {kind}; it must {make}.")
    return config


def check_fields(path: str, list_all: Callable[[], Any]) -> None:
    """UserError where listing the fields of the config that the file made fails."""
    try:
        list_all()
    except Exception as error:  # names of several types, placeholders, sections that hold themselves
        raise UserError(
            f"The fields of the config of {path} cannot be listed ({_described(error)}); each needs a name of letters "
            "and a value, and no section may hold itself."
        ) from None


def _described(error: BaseException) -> str:
    """Kind and text of an error of the user's code in one line."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # of an error that cannot say what it is
        text = type(error).__name__
    return " ".join(text.split()).removesuffix(":").removesuffix(".")


def _compile(path: str) -> Any:
    file = Path(path)
    try:
        if file.exists() and not file.is_file():
            raise UserError(f"The config file {path} is not a file; {GIVE}.")
        source = file.read_bytes()
    except OSError as error:
        raise UserError(f"The config file {path} cannot be read ({error.strerror}); {GIVE}.") from None
    try:
        return compile(source, path, "exec", dont_inherit=True)
    except Exception as error:  # SyntaxError; ValueError, MemoryError and RecursionError of what was never a program
        if file.suffix == ".py" and isinstance(error, SyntaxError) and error.lineno:
            raise UserError(f"The config file {path} has a syntax error in line {error.lineno}: {error.msg}.") from None
        raise UserError(f"The config file {path} is no Python file; {GIVE}.") from None


def _call(path: str, action: Callable[[], Any]) -> Any:
    """What `action` returns, which runs code of the file."""
    try:
        return action()
    except UserError:
        raise
    except BaseException as error:  # sys.exit() and KeyboardInterrupt too: neither shall end the command in silence
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        where = f" in line {lines[-1]}" if lines else ""
        raise UserError(f"The config file {path} fails{where} with {_described(error)}.") from None
