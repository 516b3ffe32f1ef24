"""index.html: what a parser sees of it, and its script run by Node where that is installed."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
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


DOCUMENT = """
const source = require("fs").readFileSync(0, "utf8");
const stored = {};
const names = ["a,\\"b\\".png", "<c>"];
const card = { dataset: { id: names[0] }, hidden: false };
const outputs = [0, 1].map(() => ({ textContent: "" }));
const li = [0, 1].map((n) => ({
  dataset: { class: ["cat", names[1]][n], was: ["1", ""][n], reason: "r" }, hidden: false,
  closest: (what) => what === "li" ? li[n] : card,
  classList: { toggle() {} }, querySelector: () => outputs[n], focus() { document.activeElement = li[n]; },
}));
card.querySelectorAll = () => li;
const elements = {}, listeners = {};
globalThis.localStorage = { getItem: (k) => stored[k] ?? null, setItem: (k, v) => { stored[k] = v; } };
globalThis.document = {
  body: { dataset: { key: "k" } }, activeElement: null,
  querySelectorAll: (what) => what === "li" ? li : [card],
  getElementById: (id) => elements[id] ??= { value: "", addEventListener(kind, run) { listeners[id] = run; } },
  addEventListener(kind, run) { listeners[kind] = run; },
  createElement: () => ({ click() {} }),
};
globalThis.Blob = class { constructor(parts) { globalThis.saved = parts.join(""); } };
URL.createObjectURL = () => "blob:x"; URL.revokeObjectURL = () => {};
(0, eval)(source);
const press = (key) => listeners.keydown({ key, preventDefault() {} });
press("0"); press("u");
listeners.download();
const first = saved;
press("Backspace");
elements.class.value = "cat"; listeners.class();
listeners.download();
console.log(JSON.stringify({ first, second: saved, stored, hidden: li.map((one) => one.hidden), outputs }));
"""


@pytest.mark.processes
@pytest.mark.skipif(shutil.which("node") is None, reason="Node runs the page's script, and is not installed")
def test_keys_become_corrections():
    script = (Path(page.__file__).parent / "page.js").read_text()
    done = subprocess.run(["node", "-e", DOCUMENT], input=script, capture_output=True, text=True, check=True)
    got = json.loads(done.stdout)
    head, first, second = (
        "id,class,state,was,note\n",
        '"a,""b"".png","cat","0","1","r"\n',
        '"a,""b"".png","<c>","","","r"\n',
    )
    assert got["first"] == head + first + second
    assert got["second"] == head + first
    assert json.loads(got["stored"]["k"]) == {json.dumps(['a,"b".png', "cat"], separators=(",", ":")): "0"}
    assert got["hidden"] == [False, True] and got["outputs"][0]["textContent"] == "→ absent"
