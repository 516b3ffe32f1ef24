"""An audit's images and labels for other tools, none of which knows a candidate or an unknown label by itself.

Each file keeps all four states: as attributes, lists of its own, or numbers. cleanlab.npz has every training image, the
others have those whose bytes the audit wrote.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import quoteattr

import numpy as np

from ltpml_jax.audit import ranking
from ltpml_jax.audit.entries import Listed
from ltpml_jax.audit.evidence import Evidence
from ltpml_jax.audit.pictures import Picture
from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.readers import coco, tables
from ltpml_jax.errors import UserError
from ltpml_jax.runtime.files import csv_line


class Audit(NamedTuple):
    """What is exported.

    home: where it will lie; belief float [N, C]; entries: the listed ones; pictures: the images that were written;
    summary: what summary.json has.
    """

    home: Path
    evidence: Evidence
    belief: np.ndarray
    entries: list[Listed]
    pictures: list[Picture]
    summary: dict[str, Any]


def fiftyone(audit: Audit, folder: Path) -> None:
    """fiftyone/labels.json and data.json: FiftyOne's layout of image classification, several labels an image.

    Every label carries `given`, `distrust`, `rank`, `reason`, `suggest` and `score` as attributes; negatives have
    labels as well, so filter by `given`.
    """
    ranked = {(one.row, one.column): one for one in audit.entries}
    names = audit.evidence.class_names
    labels = {
        _key(picture): [_classification(audit, picture.row, j, ranked.get((picture.row, j))) for j in range(len(names))]
        for picture in audit.pictures
    }
    home = folder / "fiftyone"
    home.mkdir()
    _dump(home / "labels.json", {"classes": list(names), "labels": labels})
    _dump(home / "data.json", {_key(one): str(audit.home.resolve() / one.path) for one in audit.pictures})


def _key(picture: Picture) -> str:
    return Path(picture.path).stem


def _classification(audit: Audit, row: int, column: int, one: Listed | None) -> dict[str, Any]:
    given, belief = audit.evidence.given[row, column], float(audit.belief[row, column])
    wrong = ranking.distrust(np.array(belief), given).item()
    attributes = {
        "given": LabelState(int(given)).name.lower(),
        "distrust": _number(wrong),
        "score": _number(float(audit.evidence.score[row, column])),
        "rank": one.rank if one else None,
        "reason": one.reason if one else "",
        "suggest": one.suggest if one else "",
    }
    return {"label": audit.evidence.class_names[column], "confidence": _number(belief), "attributes": attributes}


def cleanlab(audit: Audit, folder: Path) -> None:
    """cleanlab.npz: labels int8 [N, C] of states, pred_probs float64 [N, C], ids, class_names, out_of_sample.

    cleanlab takes neither candidates nor unknown labels; give it one class at a time, and its known rows only:
    `k = labels[:, j] < 2; find_label_issues(labels[k, j], np.stack([1 - p[k, j], p[k, j]], 1))`.
    """
    evidence = audit.evidence
    np.savez_compressed(
        folder / "cleanlab.npz",
        allow_pickle=False,
        labels=evidence.given.astype(np.int8),
        pred_probs=audit.belief.astype(np.float64),
        ids=np.array([evidence.records[row]["id"] for row in range(len(evidence.given))], np.str_),
        class_names=np.array(evidence.class_names, np.str_),
        out_of_sample=evidence.out_of_sample,
    )


def as_coco(audit: Audit, folder: Path) -> None:
    """labels.coco.json: COCO with the lists of category ids that `prepare --coco` and LVIS's readers know.

    A positive is an annotation as well, of the whole image, with the belief as its score.
    """
    ids = np.arange(1, len(audit.evidence.class_names) + 1)
    images, annotations = [], []
    for picture in audit.pictures:
        states = audit.evidence.given[picture.row]
        lists = {key: ids[states == state].tolist() for key, state in coco.BY_IMAGE.items()}
        number = len(images) + 1
        images.append(
            {"id": number, "file_name": picture.path, "width": picture.width, "height": picture.height, **lists}
            | {"not_exhaustive_category_ids": ids[states >= LabelState.CANDIDATE].tolist()}
        )
        annotations += [
            {
                "id": len(annotations) + place,
                "image_id": number,
                "category_id": category,
                "bbox": [0, 0, picture.width, picture.height],
                "area": picture.width * picture.height,
                "iscrowd": 0,
                "score": _number(float(audit.belief[picture.row, category - 1])),
            }
            for place, category in enumerate(lists["category_ids"], 1)
        ]
    categories = [{"id": int(j), "name": name} for j, name in zip(ids, audit.evidence.class_names, strict=True)]
    _dump(folder / "labels.coco.json", {"images": images, "categories": categories, "annotations": annotations})


def as_csv(audit: Audit, folder: Path) -> None:
    """labels.csv: what `prepare --csv --images=AUDIT` reads, one column a class of 1, 0, ? and nothing."""
    symbols = [tables.CELLS[state] for state in LabelState]
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        file.write(csv_line(["path", "id", *audit.evidence.class_names]))
        for picture in audit.pictures:
            states = audit.evidence.given[picture.row].tolist()
            file.write(csv_line([picture.path, picture.id, *(symbols[state] for state in states)]))


def label_studio(audit: Audit, folder: Path) -> None:
    """label_studio.json and .xml: tasks with what is believed to be present as predictions; sort by score.

    data.given has the four states by class name; a task's score is the highest distrust in its image.
    """
    names = audit.evidence.class_names
    tasks = [_task(audit, picture) for picture in audit.pictures]
    _dump(folder / "label_studio.json", tasks)
    choices = "\n".join(f"    <Choice value={quoteattr(name)}/>" for name in names)
    (folder / "label_studio.xml").write_text(
        '<View>\n  <Image name="image" value="$image"/>\n'
        f'  <Choices name="labels" toName="image" choice="multiple">\n{choices}\n  </Choices>\n</View>\n',
        encoding="utf-8",
    )


def _task(audit: Audit, picture: Picture) -> dict[str, Any]:
    names, given, belief = audit.evidence.class_names, audit.evidence.given[picture.row], audit.belief[picture.row]
    states = {name: LabelState(int(state)).name.lower() for name, state in zip(names, given, strict=True)}
    chosen = [name for name, value in zip(names, belief, strict=True) if value > ranking.EVEN]
    known = given <= LabelState.POSITIVE
    highest = float(ranking.distrust(belief, given)[known].max()) if known.any() else 0.0
    result = {"from_name": "labels", "to_name": "image", "type": "choices", "value": {"choices": chosen}}
    return {
        "data": {"image": f"/data/local-files/?d={picture.path}", "id": picture.id, "given": states},
        "predictions": [
            {"model_version": audit.summary["method"], "score": _number(highest), "result": [result] if chosen else []}
        ],
    }


def _number(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None


def _dump(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


EXPORTS: Mapping[str, Callable[[Audit, Path], None]] = {
    "fiftyone": fiftyone,
    "cleanlab": cleanlab,
    "coco": as_coco,
    "csv": as_csv,
    "label_studio": label_studio,
}


def check_names(names: tuple[str, ...]) -> None:
    """UserError where labels.csv could not be read again, as a class is called like a column of another meaning."""
    clash = next((name for name in names if name in tables.RESERVED), None)
    if clash is not None:
        raise UserError(f"A class is called {clash!r}, which is another column in CSV; leave csv out of --exports.")
