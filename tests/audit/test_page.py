"""index.html: what a parser sees of it, and what a browser does with it where one is installed."""

import base64
import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from ltpml_jax.audit import belief, entries, page, pictures
from tests.helpers import evidences


class Seen(HTMLParser):
    """Elements with their attributes, and the text in them."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def html(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("page")
    found = evidences.evidence(evidences.dataset(folder))
    believed = belief.FORMS["score"](found)
    shown = pictures.write(found.records, np.arange(4), folder)
    listed = entries.named(
        entries.listed_entries(found, believed, 500, 20), {p.row: p.id for p in shown}, {p.row: p.path for p in shown}
    )
    return page.render(listed, shown, entries.summary(found, believed, "score", listed))


def parsed(html: str) -> Seen:
    seen = Seen()
    seen.feed(html)
    return seen


def test_a_disagreement_is_spelled_out_with_its_numbers(html):
    text = "".join(parsed(html).text)
    assert text.count("annotators disagree (2 say present, 1 absent), probably present") == 1
    assert text.count("annotators disagree") == 1


def test_a_card_an_image_and_each_image_once(html):
    seen = parsed(html)
    cards = [one for one in seen.all("section") if one["class"] == "card"]
    assert sorted(card["data-id"] or "" for card in cards) == ['<i>"c"</i>.png', "a.png", "d.png", "dir/b.png"]
    sources = [image["src"] or "" for image in seen.all("img")]
    assert len(sources) == 4 and all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert len(seen.all("li")) == 24
    assert {entry["data-was"] for entry in seen.all("li")} == {"1", "0", "?", ""}


def test_hostile_names_are_text(html):
    seen = parsed(html)
    assert len(seen.all("script")) == 1 and not seen.all("i") and seen.all("script")[0] == {}
    assert {entry["data-class"] for entry in seen.all("li")} == set(evidences.HOSTILE)
    assert all(name in seen.text for name in evidences.HOSTILE)
    assert "alert(1)" not in re.sub(r"&lt;script&gt;alert\(1\)&lt;/script&gt;", "", html)


def test_the_policy_allows_the_pages_own_script_and_nothing_from_elsewhere(html):
    (policy,) = [one["content"] or "" for one in parsed(html).all("meta") if "http-equiv" in one]
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'") and "http" not in policy
    assert not re.search(r"https?://|<link|@import|url\(", html)


def test_decisions_are_kept_by_labels():
    one = {"dataset": "mine", "candidates_sha256": "ab"}
    assert page.key(one) == page.key(one | {"more": 1}) != page.key(one | {"candidates_sha256": "cd"})


BROWSER = Path(evidences.__file__).with_name("browser.py")  # a program: Qt wants to be started in it
PRESS = """(() => {
  const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  %s
  return [document.getElementById("status").textContent, document.querySelectorAll("li:not([hidden])").length];
})()"""
CHOOSE = (
    'const kind = document.getElementById("class"); kind.selectedIndex = 1; kind.dispatchEvent(new Event("change"));'
)


def in_a_browser(html: str, folder: Path, *scripts: str) -> dict:
    """What tests/helpers/browser.py says of the page; "" in place of a script downloads the corrections."""
    (folder / "index.html").write_text(html, encoding="utf-8")
    command = [sys.executable, str(BROWSER), (folder / "index.html").as_uri(), str(folder)]
    asked = json.dumps([script or 'document.getElementById("download").click()' for script in scripts])
    done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == os.EX_UNAVAILABLE:
        pytest.skip(f"no browser: {done.stdout}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.processes
def test_keys_and_buttons_become_corrections_in_a_browser(html, tmp_path):
    button = """document.querySelector('button[data-key="?"]').click();"""
    got = in_a_browser(
        html, tmp_path,
        PRESS % 'press("1"); press("ArrowDown"); press("0"); press("ArrowUp"); press("Backspace"); press("u");',
        PRESS % button,
        "reload",
        PRESS % CHOOSE,
        "",
        PRESS % 'decisions["of another page"] = "1"; save();',
    )  # fmt: skip
    assert got["messages"] == [] and set(got["requests"]) <= {"file", "data", "blob"}
    assert got["results"][:3] == [["2 decisions", 24], ["3 decisions", 24], ["3 decisions", 4]]
    assert got["results"][-1][0] == "3 decisions; 1 of another page, which are not downloaded"
    with (tmp_path / "corrections.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    shown = parsed(html).all("li")
    assert [row["class"] for row in rows] == [shown[number]["data-class"] for number in (0, 2, 3)]
    assert [row["state"] for row in rows] == ["1", "", "?"]
    assert all(row["was"] == shown[number]["data-was"] for row, number in zip(rows, (0, 2, 3), strict=True))
    assert (tmp_path / "page.png").stat().st_size > 10_000
