"""How well an audit finds labels that are known to be wrong, by form of belief: AP in percent.

    python -m benchmarks.audit_noise --truth=FOLDER/truth.csv WORKDIR[,WORKDIR...] ...

docs/noisy_digits.py makes the dataset and its truth; each argument is one audit (the runs of all folds, with commas).
Without --truth the dataset's own labels are the truth, for runs that drew their candidates. `labels` ranks positives
and negatives together by distrust; the raw score ranks as self-confidence does. By group: the mean over classes of AP
within the class. A shuffled score gives the share of wrong labels, up to chance.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score

from ltpml_jax.audit import belief, evidence, ranking
from ltpml_jax.audit.evidence import Evidence
from ltpml_jax.data import datasets
from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.readers import tables
from ltpml_jax.workdir import saved_config

# What is looked for: (name, states, whether it is wrong where the class is there, whether it shows as high belief).
KINDS = (
    ("positive_unlikely", (LabelState.POSITIVE,), False, False),
    ("missing_positive", (LabelState.NEGATIVE,), True, True),
    ("candidate_false", (LabelState.CANDIDATE,), False, False),
    ("candidate_true", (LabelState.CANDIDATE,), True, True),
)


def true_labels(found: Evidence, workdir: Path, file: str) -> np.ndarray:
    """Bool [N, C] of the training images, from the table `file`, or from the dataset."""
    if not file:
        config = saved_config(workdir)
        return np.asarray(datasets.load(config.data.name, config.data.dir).train.labels) == LabelState.POSITIVE
    listed = tables.read_table(file, "").splits["train"]
    rows = {name: row for row, name in enumerate(listed.ids)}
    order = [rows[found.records[row]["id"]] for row in range(len(found.given))]
    return listed.states[order] == LabelState.POSITIVE


def report(found: Evidence, truth: np.ndarray) -> list[str]:
    """A line for each kind of entry, form of belief, and images in or out of sample."""
    lines = []
    shuffled = np.random.default_rng(0).permutation(found.score.ravel()).reshape(found.score.shape)
    beliefs = {name: form(found) for name, form in belief.FORMS.items()} | {"shuffled": shuffled}
    beliefs = {name: values + 1e-9 * found.score for name, values in beliefs.items()}  # ties, as ranking.order has them
    for sample, rows in (("in-sample", ~found.out_of_sample), ("out of sample", found.out_of_sample)):
        for name, states, present, high in KINDS:
            at = np.isin(found.given, states) & rows[:, None]
            wrong = truth == present
            for form, values in beliefs.items():
                if (at & wrong).any():
                    shown = values if high else -values
                    lines.append(f"{sample}, {name}, {form}: {scores(at, wrong, shown, found)}")
        at = (found.given <= LabelState.POSITIVE) & rows[:, None]
        wrong = truth != (found.given == LabelState.POSITIVE)
        for form, values in beliefs.items():
            if (at & wrong).any() and (found.given == LabelState.POSITIVE).any():
                shown = np.nan_to_num(ranking.distrust(values, found.given))
                lines.append(f"{sample}, labels, {form}: {scores(at, wrong, shown, found)}")
    return lines


def scores(at: np.ndarray, wrong: np.ndarray, shown: np.ndarray, found: Evidence) -> str:
    """AP over the entries `at`, the base rate, and the mean over each group's classes of AP within the class."""
    parts = [f"AP {100 * average_precision_score(wrong[at], shown[at]):.1f} (base {100 * wrong[at].mean():.1f})"]
    for group, mask in found.groups.items():
        within = [
            average_precision_score(wrong[at[:, j], j], shown[at[:, j], j])
            for j in np.flatnonzero(mask)
            if wrong[at[:, j], j].any()
        ]
        parts.append(f"{group} {100 * np.mean(within):.1f}" if within else f"{group} -")
    return ", ".join(parts)


def main(words: list[str]) -> None:
    """Print the lines of each audit."""
    file = next((word.removeprefix("--truth=") for word in words if word.startswith("--truth=")), "")
    for word in (word for word in words if not word.startswith("--")):
        workdirs = [Path(path) for path in word.split(",")]
        found = evidence.collect(workdirs)
        print(word)
        print("\n".join(f"  {line}" for line in report(found, true_labels(found, workdirs[0], file))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
