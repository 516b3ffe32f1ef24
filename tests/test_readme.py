"""The README tells the truth about fields, files and commands; run this file to print its config table."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def config_table() -> list[str]:
    """Every field of configs/default.py as lines of a Markdown table: name, default, meaning."""
    rows = ["| field | default | meaning |", "|---|---|---|"]
    for line in (ROOT / "configs" / "default.py").read_text().splitlines():
        match = re.fullmatch(r"    config\.([\w.]+) = (.+?)(?:  # (.+))?", line)
        if match and match[2] != "ConfigDict()":
            rows.append(f"| `{match[1]}` | `{match[2]}` | {(match[3] or '').replace('|', 'or')} |")
    return rows


def test_the_config_table_is_that_of_the_default_config():
    readme = (ROOT / "README.md").read_text()
    table = config_table()
    assert len(table) > 50
    for row in table:
        assert row in readme, row


def test_every_field_has_its_comment_in_default_py():
    for row in config_table()[2:]:
        assert row.strip("|").split("|")[2].strip(), row


def test_the_file_map_names_every_module():
    readme = (ROOT / "README.md").read_text()
    for path in sorted((ROOT / "ltpml_jax").rglob("*.py")):
        if path.name != "__init__.py":
            assert f"`{path.relative_to(ROOT / 'ltpml_jax').as_posix()}`" in readme, path


def test_the_gate_runs_the_readmes_test_command():
    readme = (ROOT / "README.md").read_text()
    after = readme.split("<!-- test command -->")[1]
    command = after.split("```")[1].removeprefix("bash").strip()
    assert command.startswith("python3 -m venv .venv") and "pytest" in command
    assert "<!-- test command -->" in (ROOT / ".ci" / "run").read_text()


def test_public_names_have_docstrings():
    for path in [*(ROOT / "ltpml_jax").rglob("*.py"), *(ROOT / "configs").glob("*.py")]:
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path


if __name__ == "__main__":
    print("\n".join(config_table()))
