"""An audit from runs to files: the evidence of some runs, ranked, and then written."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ltpml_jax.audit import belief, entries, evidence, exports, page, pictures
from ltpml_jax.audit.exports import Audit
from ltpml_jax.errors import UserError
from ltpml_jax.methods.base import Method
from ltpml_jax.runtime import result_folder
from ltpml_jax.runtime.files import expanded

PAGE = "html"


def audit_runs(
    workdirs: Sequence[str | Path] | str | Path,
    out: str | Path,
    *,
    data_dir: str | Path = "",
    method: Method | None = None,
    form: str = "combined",
    top: int = 500,
    per_class: int = 20,
    every_image: bool = False,
    wanted: Collection[str] = (PAGE, *exports.EXPORTS),
) -> Audit:
    """Rank the labels that runs distrust and write them to a folder, as `ltpml audit` (docs/audit.md).

    Args:
        workdirs: of runs on the same labels, such as those of K folds; method: what `ltpml_jax.train` was given.
        out: the folder; an audit that is there is replaced; data_dir: where the dataset lies now, if it was moved.
        form: what ranks, a key of belief.FORMS.
        top: entries of each list; per_class: of each class in each list, also beyond `top`.
        every_image: write the bytes of all images instead of those of the listed entries.
        wanted: the page (html) and files for other tools.

    Raises UserError as `evidence.collect`, for labels that an export cannot keep, and an `out` that is something else.
    """
    _check(form, wanted)
    result_folder.check(out := expanded(out), entries.MARK)
    several = [workdirs] if isinstance(workdirs, str | Path) else workdirs
    found = evidence.collect([Path(path) for path in several], data_dir, method)
    if "csv" in wanted:
        exports.check_names(found.class_names)
    believed = belief.FORMS[form](found)
    listed = entries.listed_entries(found, believed, top, per_class)
    audit = Audit(out, found, believed, listed, [], entries.summary(found, believed, form, listed))
    with result_folder.written(out, entries.MARK) as scratch:
        return write(audit, scratch, every_image, wanted)


def _check(form: str, wanted: Collection[str]) -> None:
    if form not in belief.FORMS or not set(wanted) <= {PAGE, *exports.EXPORTS}:
        known = f"form is one of {', '.join(belief.FORMS)}, wanted some of {', '.join((PAGE, *exports.EXPORTS))}"
        raise UserError(f"form is {form!r} and wanted {list(wanted)}; {known}.")


def write(audit: Audit, folder: Path, every_image: bool, wanted: Collection[str]) -> Audit:
    """Write an audit's files to a folder: entries, images, summary, the page and the exports that are wanted.

    Returns it with ids, paths and pictures; OSError where the folder cannot be written.
    """
    readable = np.flatnonzero(np.isfinite(audit.belief).all(1))
    rows = readable if every_image else np.unique([one.row for one in audit.entries]).astype(np.int64)
    shown = pictures.write(audit.evidence.records, rows, folder)
    ids, paths = {one.row: one.id for one in shown}, {one.row: one.path for one in shown}
    audit = audit._replace(pictures=shown, entries=entries.named(audit.entries, ids, paths))
    entries.write(folder, audit.entries)
    for name, export in exports.EXPORTS.items():
        if name in wanted:
            export(audit, folder)
    if PAGE in wanted:
        text = page.render(audit.entries, audit.pictures, audit.summary)
        (folder / "index.html").write_text(text, encoding="utf-8")
    return audit._replace(summary=entries.write_summary(folder, audit.summary))


def text(summary: dict[str, Any]) -> str:
    """What the command prints of an audit."""
    total, outside = summary["images"], summary["out_of_sample"]
    lines = [f"{summary['dataset']}: {total} training images, {outside} with a score out of sample"]
    for state, found in summary["states"].items():
        more = ", ".join(f"{value:g} {name.replace('_', ' ')}" for name, value in found.items() if name != "entries")
        lines += [f"  {state}: {found['entries']} entries, {more}"] if found["entries"] else []
    lines += [f"  listed as {name}: {count}" for name, count in summary["listed"]["reason"].items()]
    if summary["labels_drawn_by_the_run"]:
        lines.append(
            f"note: the run drew these labels ({summary['labels_drawn_by_the_run']}); correct the dataset's own"
        )
    if summary["unreadable"]:
        lines.append(f"note: {summary['unreadable']} images cannot be read and are left out")
    return "\n".join(lines)
