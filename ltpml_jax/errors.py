"""The exceptions that are meant for the user's eyes."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can fix: one sentence that names the thing and the remedy.

    The command line prints it without a traceback and exits with status 2.
    """


class SharedError(UserError):
    """A UserError that every process of the run raises at the same moment."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """The valid name that is most like `name`, for a sentence that asks whether it was meant."""
    return difflib.get_close_matches(name, list(valid), n=1, cutoff=0.0)[0]
