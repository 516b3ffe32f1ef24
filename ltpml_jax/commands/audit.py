"""Which labels to distrust: `ltpml audit --workdir=A[,B,...] --out=DIR`.

DIR/index.html is the page to decide on; what it downloads, `ltpml prepare --from --corrections` applies.
"""

from typing import Any

from absl import flags

from ltpml_jax.cli import Command

PAGE = "html"
EXPORTS = (PAGE, "csv", "fiftyone", "cleanlab", "coco", "label_studio")
NOTE = (
    "Runs of all folds (config.data.fold) together give every image a score of a network that did not train on it; one "
    "run alone is surer of its own labels than it should be."
)


def define(values: flags.FlagValues) -> None:
    """The command's flags."""
    flags.DEFINE_list("workdir", [], "Directories of runs on the same labels, such as those of K folds.", values)
    flags.DEFINE_string("out", "", "The folder to write; an audit that is there is replaced.", values)
    flags.DEFINE_string("data_dir", "", "Where the prepared dataset lies, if not where the runs had it.", values)
    flags.DEFINE_integer(
        "top", 500, "Entries of each list: labels, candidates of either side, unknown.", 1, None, values
    )
    flags.DEFINE_integer("per_class", 20, "Entries of each class in each list, also beyond --top.", 0, None, values)
    belief = "What ranks: calibrated scores with the method's table, that alone, these scores alone, raw scores."
    flags.DEFINE_enum("belief", "combined", ["combined", "table", "calibrated", "score"], belief, values)
    images = "Whose bytes are written for the page's links and the exports: those of the listed entries, or all."
    flags.DEFINE_enum("images", "listed", ["listed", "all"], images, values)
    formats = f"Files for other tools, of {', '.join(EXPORTS)}."
    flags.DEFINE_list("exports", list(EXPORTS), formats, values)


def problems(values: Any) -> list[str]:
    """A sentence where --exports names what there is not."""
    from ltpml_jax.errors import nearest

    return [
        f"--exports names {name!r}; did you mean {nearest(name, EXPORTS)!r}?"
        for name in values.exports
        if name not in EXPORTS
    ][:1]


def run(values: Any) -> None:
    """Write the audit and print what is in it."""
    from ltpml_jax.audit import audited, entries
    from ltpml_jax.workdir import join_names

    audit = audited.audit_runs(
        join_names(values.workdir),
        values.out,
        data_dir=values.data_dir,
        form=values.belief,
        top=values.top,
        per_class=values.per_class,
        every_image=values.images == "all",
        wanted=values.exports,
    )
    print(audited.text(audit.summary))
    print(f"Written to {values.out}: {', '.join([*audit.summary['files'], entries.MARK.file])}")


COMMAND = Command(
    "Rank the labels to distrust, as a page to correct them on.",
    define,
    ("workdir", "out"),
    run,
    problems,
    NOTE,
    compiles=True,
)
