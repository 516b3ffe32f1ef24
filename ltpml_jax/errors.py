"""The exceptions that are meant for the user's eyes."""


class UserError(Exception):
    """Something the user can fix: one sentence that names the thing and the remedy.

    The command line prints it without a traceback and exits with status 2.
    """


class SharedError(UserError):
    """A UserError that every process of the run raises at the same moment."""
