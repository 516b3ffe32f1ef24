"""The house rules: names, sizes, words, and which way imports may point."""

import ast
import re
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

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


def modules() -> dict[str, Path]:
    """Dotted names of all modules."""
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}


@cache
def imports(path: Path) -> frozenset[str]:
    """Dotted names that a file imports, anywhere in it, those of the package as modules."""
    found, known = set(), modules()
    for node in ast.walk(ast.parse(path.read_text())):
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


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_down(path):
    if name_of(path) == DOOR:
        return
    own = next(module for module, file in modules().items() if file == path)
    wrong = [name for name in imports(path) if name.startswith("ltpml_jax.") and layer(name) < layer(own)]
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


@pytest.mark.parametrize("path", sorted((PACKAGE / "methods").glob("*.py")), ids=name_of)
def test_methods_import_little(path):
    foreign = {name.partition(".")[0] for name in imports(path)} - METHODS_IMPORT - set(sys.stdlib_module_names)
    inside = [
        name for name in imports(path) if name.startswith("ltpml_jax") and not name.startswith("ltpml_jax.methods")
    ]
    assert foreign == set() and inside == []


def test_the_root_has_few_modules():
    assert len(list(PACKAGE.glob("*.py"))) <= 14


def test_no_name_stands_for_two_things():
    stems = Counter(path.stem for path in FILES if path.stem != "__init__")
    assert [name for name, count in stems.items() if count > 1] == []
    classes = Counter(
        node.name
        for path in FILES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in classes.items() if count > 1] == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION, node.name
            assert "this" not in {argument.arg for argument in node.args.args}, node.name


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_texts_have_an_encoding(path):
    """Not that of the machine's locale."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            text = node.func.attr in ("read_text", "write_text") and "cpuinfo" not in ast.unparse(node)
            assert not text or any(keyword.arg == "encoding" for keyword in node.keywords), ast.unparse(node)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_words_are_those_of_the_field(path):
    found = [f"{number}: {line}" for number, line in enumerate(path.read_text().splitlines(), 1) if WORDS.search(line)]
    assert found == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_module_has_a_docstring(path):
    assert ast.get_docstring(ast.parse(path.read_text()))
