"""Write docs/config.md from the declarations in ltpml_jax/config.py: `python docs/config_table.py`."""

from pathlib import Path

from ltpml_jax.config import ALL, RunFields
from ltpml_jax.methods.settings import declared

HEAD = """# Every config field

Made by `python docs/config_table.py` from the declarations in `ltpml_jax/config.py` and in the methods' files. Set any
of them by `--config.FIELD=VALUE`, or in a config file that starts from `ltpml_jax.default_config()`. Fields marked with
an asterisk may differ when a run is resumed.
"""


def page() -> str:
    """The whole page."""
    sections = [("", RunFields), *((f"{name}.", kind) for name, kind in ALL.items())]
    lines = [HEAD]
    for prefix, kind in sections:
        lines += [f"## {prefix.rstrip('.') or 'the run'}\n", f"{kind.__doc__}\n"]
        lines += ["| field | default | must be | meaning |", "|---|---|---|---|"]
        for name, setting in declared(kind).items():
            star = "*" if setting.free else ""
            wanted = setting.rule.wanted.replace("|", "\\|")
            lines.append(f"| `{prefix}{name}`{star} | `{setting.default!r}` | {wanted} | {setting.meaning} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    (Path(__file__).parent / "config.md").write_text(page())
