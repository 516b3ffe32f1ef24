"""A comparison as text, Markdown and HTML."""

from html.parser import HTMLParser

import numpy as np
import pytest

from ltpml_jax.evaluation import comparison, comparison_report
from ltpml_jax.evaluation.bootstrap import Difference
from ltpml_jax.evaluation.comparison import Budget, Comparison, FinishedRun, Group, GroupPair
from tests.helpers import workdirs

HOSTILE = '<script>alert("1")</script> | `x` *y*\n[z](w)'
NAN = float("nan")


def of_seed(seed: int, passes: float = 2) -> FinishedRun:
    fields = {"seed": seed, "data.candidate_seed": seed}
    return FinishedRun(None, fields, None, None, Budget(1000, 32000, 1080, passes))  # pyright: ignore[reportArgumentType]


def found(label: str = "bce") -> Comparison:
    scores = np.array([[30.0, 40.0, NAN, 1.0], [32.0, 44.0, NAN, 2.0]])
    groups = (Group(label, (of_seed(0), of_seed(1)), scores), Group("ndlp", (of_seed(0, NAN),), scores[:1] - 1))
    differences = (Difference(2.0, 0.5, 3.5, 0.0004), Difference(5.0, -1.25, 11.0, 0.04), *[Difference(*[NAN] * 4)] * 2)
    return Comparison(("method.name",), groups, (GroupPair(label, "ndlp", differences, (0.0008, 0.08, NAN, NAN)),), 300,
                      ("budgets <differ>",))  # fmt: skip


def test_text_has_a_column_for_each_number():
    lines = comparison_report.text({"": found()}).splitlines()
    assert lines[0] == "mAP on 300 test images, percent, mean ± standard deviation over runs"
    assert lines[1].split() == ["method.name", "runs", "Total", "Head", "Medium", "Tail"]
    assert " ".join(lines[2].split()) == "bce 2 31.00 ± 1.41 42.00 ± 2.83 - 1.50 ± 0.71"
    assert lines[3].split() == ["ndlp", "1", "29.00", "39.00", "-", "0.00"]
    table = comparison_report.text({"": found()})
    assert "bce    ndlp    Total           +2.00   +0.50 to +3.50  < 0.001   < 0.001" in table
    assert "bce    ndlp    Head            +5.00  -1.25 to +11.00    0.040     0.080" in table
    assert (
        "bce          0, 1   1,000          32,000                      29.63              2           64,000" in table
    )
    assert table.endswith("note: budgets <differ>") and "Medium  " not in table.split("Differences")[1]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.replace("\\|", "").strip("|").split("|")]


def test_markdown_has_as_many_cells_in_every_row():
    text = comparison_report.markdown({HOSTILE: found(HOSTILE)})
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert len(tables) == 3
    for table in tables:
        assert len({len(cells(line)) for line in table}) == 1 and set(cells(table[1])) <= {"---", "---:"}
    assert "<script>" not in text and "&lt;script&gt;" in text and "\n[z]" not in text


class Page(HTMLParser):
    """Tags and the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


def test_html_shows_hostile_names_as_text():
    page = Page()
    page.feed(comparison_report.page({HOSTILE: found(HOSTILE)}))
    assert "script" not in page.tags and page.tags.count("table") == 3 and page.tags.count("li") == 2
    assert HOSTILE in page.texts and "budgets <differ>" in page.texts and "+0.50 to +3.50" in page.texts


@pytest.mark.parametrize("form", comparison_report.FORMATS)
def test_each_part_has_its_title_and_its_tables(form):
    text = comparison_report.FORMATS[form]({"rate = 0.3": found(), "rate = 0.5": found()})
    assert text.index("rate = 0.3") < text.index("Budget") < text.index("rate = 0.5") < text.rindex("Budget")


@pytest.mark.parametrize("form", comparison_report.FORMATS)
def test_a_group_alone_has_no_table_of_differences(tmp_path, form):
    states = workdirs.labels(50)
    path = workdirs.write(tmp_path / "run", states, workdirs.guesses(states, 1.0, 0))
    text = comparison_report.FORMATS[form]({"": comparison.compare([path])})
    assert "Differences" not in text and "Budget" in text and "ndlp" in text
