"""The listed entries as a table (entries.csv, entries.parquet) and the summary of an audit (summary.json)."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ltpml_jax import __version__
from ltpml_jax.audit import ranking
from ltpml_jax.audit.evidence import Evidence
from ltpml_jax.data.labels import GROUPS, LabelState
from ltpml_jax.runtime.result_folder import Mark

FORMAT = 1
MARK = Mark("summary.json", "ltpml audit", "audit")
SPLIT = "train"


class Listed(NamedTuple):
    """One listed entry, a row of entries.csv in this order.

    rank: in its list; candidates: size of the image's candidate set; distrust: of known labels only; path: of the
    image below the audit's folder. soft_label and candidates are None where the method keeps no table, or where the
    image did not train. said_present, said_absent: how many annotators say so, where they disagree.
    """

    rank: int
    rank_in_class: int
    rank_in_group: int
    split: str
    id: str
    path: str
    class_: str
    group: str
    given: str
    soft_label: float | None
    candidates: int | None
    score: float
    belief: float
    distrust: float | None
    suggest: str
    reason: str
    out_of_sample: bool
    step: int
    said_present: int | None
    said_absent: int | None
    row: int  # of the split; not written
    column: int  # the class's number; not written


_TYPES = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}
COLUMNS = tuple(name for name in Listed._fields if name not in ("row", "column"))


def listed_entries(evidence: Evidence, belief: np.ndarray, top: int, per_class: int) -> list[Listed]:
    """The `top` first entries of every list, and the `per_class` first of each class in it, list by list.

    belief float [N, C]. ids and paths are empty: `named` fills them in.
    """
    groups = ranking.group_numbers(evidence.groups, len(evidence.class_names))
    counts = {(row, column): (present, absent) for row, column, present, absent in evidence.disagreements.tolist()}
    found = []
    for name in ranking.LISTS:
        whole = ranking.order(name, evidence.given, belief, evidence.score, groups)
        for place in zip(*(part.tolist() for part in ranking.first(whole, top, per_class)), strict=True):
            found.append(_entry(evidence, belief, name, place, counts.get(place[:2])))
    return found


def _entry(
    evidence: Evidence, belief: np.ndarray, name: str, place: tuple[int, ...], counts: tuple[int, int] | None
) -> Listed:
    row, column, rank, in_class, in_group = place
    given, value = LabelState(int(evidence.given[row, column])), float(belief[row, column])
    soft = None if evidence.soft is None else float(evidence.soft[row, column])
    known = soft is not None and np.isfinite(soft)
    group = next((group for group in GROUPS if evidence.groups[group][column]), "")
    present, absent = counts if counts and given == LabelState.CANDIDATE else (None, None)
    reason = ranking.reason(name, given) if present is None else ranking.DISPUTED
    wrong = ranking.distrust(np.array(value), np.array(given)).item()
    return Listed(
        rank, in_class, in_group, SPLIT, "", "", evidence.class_names[column], group, given.name.lower(),
        soft if known else None, int(evidence.size[row]) if known else None, float(evidence.score[row, column]),
        value, None if np.isnan(wrong) else wrong, ranking.suggestion(name, given, value), reason,
        bool(evidence.out_of_sample[row]), int(evidence.step[row]), present, absent, row, column,
    )  # fmt: skip


def named(found: list[Listed], ids: dict[int, str], paths: dict[int, str]) -> list[Listed]:
    """The entries with the id and path of their images, by row."""
    return [one._replace(id=ids[one.row], path=paths[one.row]) for one in found]


def table(found: list[Listed]) -> pa.Table:
    """The entries as columns; numbers with six digits after the point, nulls where there is no value."""
    columns = {}
    for name in COLUMNS:
        kind = Listed.__annotations__[name]
        form = next(pa_type for plain, pa_type in _TYPES.items() if kind == plain or kind == plain | None)
        values = [getattr(one, name) for one in found]
        if form == pa.float64():
            values = [None if value is None else round(value, 6) for value in values]
        columns[name.rstrip("_")] = pa.array(values, form)
    return pa.table(columns)


def write(folder: Path, found: list[Listed]) -> None:
    """Write entries.csv and entries.parquet; OSError where that cannot be."""
    columns = table(found)
    pyarrow.csv.write_csv(columns, str(folder / "entries.csv"))
    pyarrow.parquet.write_table(columns, str(folder / "entries.parquet"))


def summary(evidence: Evidence, belief: np.ndarray, form: str, found: list[Listed]) -> dict[str, Any]:
    """The content of summary.json: what was audited with what, how much seems wrong, what is listed."""
    readable = np.asarray(np.isfinite(belief).all(1))
    return {
        "kind": MARK.kind,
        "format": FORMAT,
        "ltpml_jax": __version__,
        **evidence.record,
        "class_names": list(evidence.class_names),
        "groups": {name: np.flatnonzero(mask).tolist() for name, mask in evidence.groups.items()},
        "labels_drawn_by_the_run": evidence.drawn,
        "belief": form,
        "flip_rate": evidence.flip_rate,
        "images": len(readable),
        "unreadable": int((~readable).sum()),
        "out_of_sample": int(evidence.out_of_sample.sum()),
        "states": {
            state.name.lower(): _count(evidence.given[readable], belief[readable], state) for state in LabelState
        },
        "listed": {
            by: _counts([getattr(one, field) for one in found])
            for by, field in (("reason", "reason"), ("class", "class_"), ("group", "group"), ("suggest", "suggest"))
        },
    }


def _count(given: np.ndarray, belief: np.ndarray, state: LabelState) -> dict[str, float | int]:
    """Entries of a state; of labels, how many the belief contradicts, of the others, how many it expects present.

    A sum of distrust would be no count of wrong labels: where classes are hard to tell apart, right ones have some too.
    """
    there = belief[given == state]
    if state > LabelState.POSITIVE:
        return {"entries": len(there), "present_by_belief": round(float(there.sum()), 1)}
    wrong = there > ranking.EVEN if state == LabelState.NEGATIVE else there < ranking.EVEN
    return {"entries": len(there), "contradicted": int(wrong.sum())}


def _counts(values: list[str]) -> dict[str, int]:
    return {value: values.count(value) for value in sorted(set(values)) if value}


def write_summary(folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Write summary.json, with the names of what lies beside it; returns its content. OSError where that cannot be."""
    content = content | {"files": sorted(path.name for path in folder.iterdir())}
    (folder / MARK.file).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return content
