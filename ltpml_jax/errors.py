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
    """The valid name that is most like `name`, in either case, for a sentence that asks whether it was meant."""
    names = {one.lower(): one for one in valid}
    return names[difflib.get_close_matches(name.lower(), list(names), n=1, cutoff=0.0)[0]]
