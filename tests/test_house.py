"""The house rules: names, sizes, words, and which way imports may point."""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ltpml_jax"
FILES = sorted(PACKAGE.rglob("*.py"))
# From the top to the bottom; a module imports from its own layer and from lower ones.
LAYERS = (
    ("main", "__main__", "cli", "commands"),
    ("trainer", "step_log"),
    ("plotting",),
    ("inference", "audit"),
    ("evaluation", "exporting"),
    ("experiment",),
    ("recipes",),
    ("config", "workdir"),
    ("data", "models"),
    ("step", "state", "optimizer", "photometric"),
    ("runtime",),
    ("methods",),
    ("errors", "__init__"),
)
DOOR = "ltpml_jax/__init__.py"  # imports from everywhere, when a name is used
LONGEST_FILE, LONGEST_FUNCTION = 285, 35
METHODS_IMPORT = {"jax", "optax", "numpy", "flax", "ltpml_jax"}
WORDS = re.compile(
    r"\b(told|heard|news|mend|mended|goes on|go on|hangs on|hang on|for ever|nobody|somebody|settle|facts|said)\b", re.I
)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def modules() -> dict[str, Path]:
    """Dotted names of all modules."""
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}


@cache
def imports(path: Path) -> frozenset[str]:
    """Dotted names that a file imports, anywhere in it, those of the package as modules."""
    found, known = set(), modules()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            inner = {f"{base}.{alias.name}" for alias in node.names} & known.keys()
            found |= inner or {base}
    return frozenset(found)


def layer(module: str) -> int:
    part = [*module.split("."), "__init__"][1]
    return next(number for number, names in enumerate(LAYERS) if part in names)


def test_imports_point_down():
    wrong = [
        f"{own} imports {name}"
        for own, path in modules().items()
        if name_of(path) != DOOR
        for name in imports(path)
        if name.startswith("ltpml_jax.") and layer(name) < layer(own)
    ]
    assert wrong == []


def test_no_circle_of_imports():
    graph = {module: imports(path) & modules().keys() for module, path in modules().items() if name_of(path) != DOOR}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail, module])
        if module in done or module not in graph:
            return
        for other in graph[module]:
            visit(other, (*trail, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def test_nothing_imports_the_config_files():
    for path in FILES:
        assert not any(name.partition(".")[0] == "configs" for name in imports(path)), path


def test_methods_import_little():
    allowed = METHODS_IMPORT | set(sys.stdlib_module_names)
    wrong = [
        f"{path.name} imports {name}"
        for path in (PACKAGE / "methods").glob("*.py")
        for name in imports(path)
        if name.partition(".")[0] not in allowed or re.match(r"ltpml_jax(?!\.methods\b)", name)
    ]
    assert wrong == []


def test_the_root_has_few_modules():
    assert len(list(PACKAGE.glob("*.py"))) <= 14


def test_no_name_stands_for_two_things():
    stems = Counter(path.stem for path in FILES if path.stem != "__init__")
    assert [name for name, count in stems.items() if count > 1] == []
    classes = Counter(
        node.name
        for path in FILES
        for node in parsed(path).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in classes.items() if count > 1] == []


def nodes(kind: type) -> Iterator[tuple[Path, Any]]:
    """All nodes of that kind, with the file that each is in."""
    return ((path, node) for path in FILES for node in ast.walk(parsed(path)) if isinstance(node, kind))


def test_files_and_functions_are_short():
    lines = {name_of(path): len(path.read_text().splitlines()) for path in FILES}
    assert {name: count for name, count in lines.items() if count > LONGEST_FILE} == {}
    for path, node in nodes(ast.FunctionDef):
        assert (node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION, (path, node.name)
        assert "this" not in {argument.arg for argument in node.args.args}, (path, node.name)


def test_texts_have_an_encoding():
    """Not that of the machine's locale."""
    for path, node in nodes(ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("read_text", "write_text"):
            named = any(keyword.arg == "encoding" for keyword in node.keywords)
            assert named or "cpuinfo" in ast.unparse(node), (path, ast.unparse(node))


def test_words_are_those_of_the_field():
    found = [
        f"{name_of(path)}:{number}: {line}"
        for path in FILES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if WORDS.search(line)
    ]
    assert found == []


def test_every_module_has_a_docstring():
    assert [name_of(path) for path in FILES if not ast.get_docstring(parsed(path))] == []
