"""index.html: one static file with a card an image, which works from a disk and asks no network for anything.

All names are escaped; the page's Content-Security-Policy allows its own script and style, by their hashes, and images
in data URIs, nothing else.
"""

import base64
import hashlib
import json
from collections.abc import Iterable
from html import escape
from importlib import resources
from string import Template
from typing import Any

from ltpml_jax.audit.entries import Listed
from ltpml_jax.audit.pictures import Picture
from ltpml_jax.data.readers import tables

# A state as corrections.csv and `prepare --csv` write it.
SYMBOLS = {state.name.lower(): cell for state, cell in tables.CELLS.items()}
WORDS = {"positive": "present", "negative": "absent"}
SENTENCES = {
    "positive_unlikely": "labelled as present, but probably absent",
    "missing_positive": "labelled as absent, but perhaps present",
    "candidate_false": "a candidate that is probably absent",
    "candidate_true": "a candidate that is probably present",
    "unknown_true": "not annotated, and probably present",
    "annotators_disagree": "annotators disagree",
}


def render(found: list[Listed], pictures: list[Picture], summary: dict[str, Any]) -> str:
    """The page of some entries and the images that they are of; summary: what summary.json has."""
    source = resources.files("ltpml_jax.audit")
    script, style = (source.joinpath(name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    by_row: dict[int, list[Listed]] = {}
    for one in found:
        by_row.setdefault(one.row, []).append(one)
    images = {picture.row: picture for picture in pictures}
    cards = [card(images[row], entries) for row, entries in by_row.items()]
    return Template(source.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        policy=policy(script, style),
        style=style,
        script=script,
        key=escape(key(summary), quote=True),
        title=escape(f"Labels of {summary['dataset']} to check"),
        about=about(summary),
        classes=options(one.class_ for one in found),
        groups=options(one.group for one in found),
        reasons=options(one.reason for one in found),
        cards="\n".join(cards),
    )


def policy(script: str, style: str) -> str:
    """The Content-Security-Policy of a page with this script and style."""
    script_hash, style_hash = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)
    )
    return (
        f"default-src 'none'; img-src data:; script-src 'sha256-{script_hash}'; style-src 'sha256-{style_hash}'; "
        "base-uri 'none'; form-action 'none'"
    )


def key(summary: dict[str, Any]) -> str:
    """Under what the browser keeps decisions: equal for equal labels of one dataset."""
    content = json.dumps([summary["dataset"], summary["candidates_sha256"]])
    return "ltpml-audit-" + hashlib.sha256(content.encode()).hexdigest()[:16]


def about(summary: dict[str, Any]) -> str:
    """What a reader must know of the numbers, as HTML."""
    runs = f"{len(summary['workdirs'])} run" + "s" * (len(summary["workdirs"]) != 1)
    inside = summary["images"] - summary["out_of_sample"]
    lines = [f"{summary['method']}, {runs}, {summary['images']} training images."]
    if inside:
        lines.append(
            f"The scores of {inside} images are in-sample: their network trained on these labels, and is surer of them "
            "than it should be. Runs of all folds (config.data.fold) give scores out of sample."
        )
    if summary["labels_drawn_by_the_run"]:
        lines.append(
            f"These labels are not the dataset's own: {summary['labels_drawn_by_the_run']}. "
            "Corrections of them cannot be applied to it."
        )
    lines.append("Rare classes have few examples to learn from: trust their ranks less, and use the filter by class.")
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def options(names: Iterable[str]) -> str:
    """The choices of a filter, as HTML."""
    return "".join(f'<option value="{escape(name)}">{escape(name)}</option>' for name in sorted({*names} - {""}))


def card(picture: Picture, entries: list[Listed]) -> str:
    """One image with its entries, as HTML."""
    rows = "\n".join(line(one) for one in entries)
    name = escape(picture.id)
    return (
        f'<section class="card" data-id="{name}"><img src="{picture.thumbnail}" alt=""><div><h2><bdi>{name}</bdi></h2>'
        f"<ul>{rows}</ul></div></section>"
    )


def line(one: Listed) -> str:
    """One entry, as HTML."""
    soft = "" if one.soft_label is None else f", soft label {one.soft_label:.3f} in a set of {one.candidates}"
    numbers = f"P(present) {one.belief:.3f}, score {one.score:.3f}{soft}, rank {one.rank}"
    where = "" if one.out_of_sample else ", in-sample"
    votes = "" if one.said_present is None else f" ({one.said_present} say present, {one.said_absent} absent)"
    probably = f", probably {WORDS[one.suggest]}" if votes and one.suggest else ""
    return (
        f'<li tabindex="0" data-class="{escape(one.class_)}" data-group="{escape(one.group)}" '
        f'data-reason="{one.reason}" data-was="{SYMBOLS[one.given]}"><b><bdi>{escape(one.class_)}</bdi></b> '
        f'<span class="given">{one.given}</span> {SENTENCES[one.reason]}{votes}{probably} '
        f"<small>{numbers}{where}</small> <output></output></li>"
    )
