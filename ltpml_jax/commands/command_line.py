"""The command line: `ltpml COMMAND --FLAG=VALUE ...`, or `python -m ltpml_jax COMMAND ...`."""

import sys

from ltpml_jax import __version__, cli
from ltpml_jax.commands import (
    audit,
    compare,
    corrupt,
    evaluate,
    export,
    plot,
    predict,
    preflight,
    prepare,
    sweep,
    train,
)
from ltpml_jax.errors import UserError, nearest

COMMANDS = {
    "train": train.COMMAND,
    "evaluate": evaluate.COMMAND,
    "predict": predict.COMMAND,
    "prepare": prepare.COMMAND,
    "corrupt": corrupt.COMMAND,
    "preflight": preflight.COMMAND,
    "export": export.COMMAND,
    "sweep": sweep.COMMAND,
    "compare": compare.COMMAND,
    "audit": audit.COMMAND,
    "plot": plot.COMMAND,
}


def main() -> None:
    """Run the command that sys.argv names; exits with status 2 where there is none."""
    name, *words = sys.argv[1:] or [""]
    if name in (*cli.HELP, "help"):
        print(overview())
    elif name == "--version":
        print(__version__)
    elif name in COMMANDS:
        cli.start(name, COMMANDS[name], words)
    else:
        cli.fail(UserError(_no_command(name)))


def overview() -> str:
    """What `ltpml --help` prints: a line for each command."""
    lines = [f"  {name:<10} {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        ["usage: ltpml COMMAND --FLAG=VALUE ...", "", *lines, "", "`ltpml COMMAND --help` lists the command's flags."]
    )


def _no_command(word: str) -> str:
    if not word or word.startswith("-"):
        return f"The command is missing; write `ltpml COMMAND ...` with one of {', '.join(COMMANDS)}."
    return f"There is no command {word!r}; did you mean {nearest(word, COMMANDS)!r}?"
