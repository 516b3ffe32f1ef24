"""`ltpml` and `python -m ltpml_jax`: Ctrl-C is one line from here on, also while the commands are imported."""

import signal

from ltpml_jax.runtime import preemption


def main() -> None:
    """Run the command that sys.argv names."""
    signal.signal(signal.SIGINT, preemption.end_at_once)
    from ltpml_jax.commands import command_line

    command_line.main()


if __name__ == "__main__":
    main()
