"""Config files of every kind: the good ones make a config, the others are one sentence with file and line."""

import pytest

from ltpml_jax import cli
from ltpml_jax.commands import config_file, train
from ltpml_jax.config import validate
from ltpml_jax.errors import UserError

GOOD = """
import dataclasses
from ml_collections import ConfigDict

@dataclasses.dataclass
class Rates:
    one: "float"

def get_config(text="nothing"):
    return ConfigDict({"text": text, "file": __file__, "rate": Rates(0.5).one})
"""


def test_what_stands_after_the_first_colon_is_the_argument(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(GOOD)
    for given, expected in {"": "nothing", ":a:b": "a:b", ":": ""}.items():
        assert config_file.load(f"{path}{given}").to_dict() == {"text": expected, "file": str(path), "rate": 0.5}


RETURNS = "def get_config():\n    "
WRONG = {
    "x = (\n": "has a syntax error in line 1: '(' was never closed.",
    "x = 1\ny = \xe9\xff'": "has a syntax error in line 2: ",
    "": "has no function get_config; it needs one that returns the config.",
    "get_config = 3": "has no function get_config",
    "\n\nimport nowhere": "fails in line 3 with ModuleNotFoundError: No module named 'nowhere'.",
    RETURNS + "raise KeyError('x')": "fails in line 2 with KeyError: 'x'.",
    RETURNS + "raise ValueError('a\\n  b')": "fails in line 2 with ValueError: a b.",
    RETURNS + "raise AssertionError": "fails in line 2 with AssertionError.",
    RETURNS + "open('/nowhere')": "fails in line 2 with FileNotFoundError: ",
    RETURNS + "return int('x')": "fails in line 2 with ValueError: invalid literal",
    RETURNS + "return get_config()": "fails in line 2 with RecursionError: ",
    "class E(Exception):\n    def __str__(self): raise ValueError\nraise E": "fails in line 3 with E.",
    "import sys\nsys.exit(0)": "fails in line 2 with SystemExit: 0.",
    RETURNS + "raise KeyboardInterrupt": "fails in line 2 with KeyboardInterrupt.",
    RETURNS + "pass": "returns None; it must return a ConfigDict with fields, as ltpml_jax.default_config() makes one.",
    RETURNS + "return {}": "returns a dict; it must return a ConfigDict with fields",
    RETURNS
    + "from ml_collections import ConfigDict; return ConfigDict()": "returns a ConfigDict without fields; it must",
    RETURNS
    + "import ml_collections as ml; return ml.FrozenConfigDict({'a': 1})": "returns a FrozenConfigDict; it must",
    "get_config = dict": "no signature found",
    "def get_config(rate):\n    pass": "has get_config(rate), but --config gives no argument after a colon; give one.",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_file_that_makes_no_config_is_one_sentence_that_names_it(text, tmp_path):
    path = tmp_path / "own.py"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        config_file.load(str(path))
    sentence = str(caught.value)
    assert str(path) in sentence and WRONG[text] in sentence and "\n" not in sentence
    assert sentence.endswith(".") and not sentence.endswith("..")


STRANGE = {
    "config.data[3] = 4": r"^The fields of the config of .*own.py cannot be listed \(TypeError: .*\); each needs",
    "config.me = config": r"cannot be listed \(RecursionError: .*\); .* no section may hold itself\.$",
    "config.data.name = ml.config_dict.required_placeholder(str)": r"cannot be listed \(RequiredValueError: ",
    "config.data = 3": "fails in line 5 with TypeError: Could not override field 'data'",
    "config.extra = ml.ConfigDict()": "^There is no config field 'extra'",
    "config.data.dir = 'a\\0b'": r"^config.data.dir is 'a\\x00b'; it must be a text without NUL characters.$",
}


@pytest.mark.parametrize("line", STRANGE)
def test_fields_that_no_config_can_have_are_one_sentence(line, tmp_path):
    path = tmp_path / "own.py"
    begin = (
        "import ltpml_jax\nimport ml_collections as ml\ndef get_config():\n    config = ltpml_jax.default_config()\n"
    )
    path.write_text(f"{begin}    {line}\n    return config\n")
    with pytest.raises(UserError, match=STRANGE[line]):
        validate(cli.parse("train", train.COMMAND, [f"--config={path}", "--workdir=x"]).config)


def test_an_argument_that_nothing_takes_is_named(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(RETURNS + "pass")
    with pytest.raises(
        UserError, match=r"own.py has get_config\(\), but --config gives '3' for its argument; leave that out\.$"
    ):
        config_file.load(f"{path}:3")


def test_a_user_error_of_the_file_stays_as_it_is(tmp_path):
    path = tmp_path / "own.py"
    path.write_text("from ltpml_jax.errors import UserError\nraise UserError('Give a rate.')")
    with pytest.raises(UserError, match=r"^Give a rate\.$"):
        config_file.load(str(path))


@pytest.mark.parametrize("content", [b"# Title\n\nIt's a text.\n", bytes(range(256)), b"\0\0", b"(" * 100_000])
@pytest.mark.parametrize("name", ["README.md", "image", "own.py"])
def test_what_was_never_python_is_reported(content, name, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        config_file.load(str(path))
    expected = f"The config file {path} is no Python file; give the path of one as --config=FILE.py[:ARGUMENT]."
    syntax = f"The config file {path} has a syntax error in line "
    assert str(caught.value) == expected or (name == "own.py" and str(caught.value).startswith(syntax))


def test_what_cannot_be_read_is_reported(tmp_path):
    for path, reason in {
        f"{tmp_path}/nowhere.py": r"cannot be read \(No such file or directory\)",
        f"{tmp_path}": "is not a file",
        "/dev/zero": "is not a file",
        f"{__file__}/below.py": r"cannot be read \(Not a directory\)",
    }.items():
        with pytest.raises(UserError, match=rf"^The config file {path} {reason}; give the path of one as --config="):
            config_file.load(path)
