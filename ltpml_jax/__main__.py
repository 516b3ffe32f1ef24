"""`ltpml` and `python -m ltpml_jax`: Ctrl-C is one line from here on, also while the commands are imported."""

from ltpml_jax.runtime import startup


def main() -> None:
    """Run the command that sys.argv names."""
    with startup.command():
        from ltpml_jax.commands import command_line

        command_line.main()


if __name__ == "__main__":
    main()
