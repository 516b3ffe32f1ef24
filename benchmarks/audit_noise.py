"""How well an audit finds labels that are known to be wrong, by form of belief: AP in percent.

    python -m benchmarks.audit_noise --truth=FOLDER/truth.csv WORKDIR[,WORKDIR...] [--truth=... WORKDIR...] ...

docs/noisy_digits.py makes the dataset and its truth; each argument is one audit (the runs of all folds, with commas),
such as one of each seed, with a --truth of its own. Without --truth the dataset's own labels are the truth, for runs
that drew their candidates. `labels` ranks positives and negatives together by distrust; the raw score ranks as
self-confidence does. By group: the mean over classes of AP within the class. A shuffled score gives the share of wrong
labels, up to chance. cleanlab, where it is installed, gets the same scores, class by class.
"""

import argparse
import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from ltpml_jax.audit import belief, evidence, ranking
from ltpml_jax.audit.evidence import Evidence
from ltpml_jax.data import datasets
from ltpml_jax.data.labels import GROUPS, LabelState
from ltpml_jax.data.readers import tables
from ltpml_jax.workdir import join_names, saved_config

# What is looked for: (name, states, whether it is wrong where the class is there, whether it shows as high belief).
KINDS = (
    ("positive_unlikely", (LabelState.POSITIVE,), False, False),
    ("missing_positive", (LabelState.NEGATIVE,), True, True),
    ("candidate_false", (LabelState.CANDIDATE,), False, False),
    ("candidate_true", (LabelState.CANDIDATE,), True, True),
)
CLEANLAB = {
    "self-confidence": {"method": "self_confidence"},
    "adjusted self-confidence": {"method": "self_confidence", "adjust_pred_probs": True},
    "normalised margin": {"method": "normalized_margin"},
}


def true_labels(found: Evidence, workdir: Path, file: str) -> np.ndarray:
    """Bool [N, C] of the training images, from the table `file`, or from the dataset."""
    if not file:
        config = saved_config(workdir)
        return np.asarray(datasets.load(config.data.name, config.data.dir).train.labels) == LabelState.POSITIVE
    listed = tables.read_table(file, "").splits["train"]
    rows = {name: row for row, name in enumerate(listed.ids)}
    order = [rows[found.records[row]["id"]] for row in range(len(found.given))]
    return listed.states[order] == LabelState.POSITIVE


def beliefs(found: Evidence) -> dict[str, np.ndarray]:
    """P(present) [N, C] by form: the audit's own, cleanlab's where it is installed, and shuffled scores."""
    shuffled = np.random.default_rng(0).permutation(found.score.ravel()).reshape(found.score.shape)
    forms = {name: form(found) for name, form in belief.FORMS.items()} | {"shuffled": shuffled}
    if importlib.util.find_spec("cleanlab"):
        forms |= {f"cleanlab {name}": by_cleanlab(found, **options) for name, options in CLEANLAB.items()}
    return {name: values + 1e-9 * found.score for name, values in forms.items()}  # ties, as ranking.order has them


def by_cleanlab(found: Evidence, **options: Any) -> np.ndarray:
    """P(present) [N, C] that cleanlab's quality of labels amounts to, class by class on known labels; NaN elsewhere."""
    quality_of = importlib.import_module("cleanlab.rank").get_label_quality_scores
    out = np.full(found.score.shape, np.nan)
    for j, given in enumerate(found.given.T):
        rows = np.flatnonzero(given <= LabelState.POSITIVE)
        if len(np.unique(given[rows])) == 2:
            score = found.score[rows, j].astype(np.float64)
            pairs = np.stack([1 - score, score], 1)
            quality = quality_of(given[rows].astype(int), pairs, **options)
            out[rows, j] = np.where(given[rows] == LabelState.POSITIVE, quality, 1 - quality)
    return out


def measure(found: Evidence, truth: np.ndarray) -> dict[str, list[float]]:
    """By kind of entry, form of belief, and images in or out of sample: what `scores` gives."""
    lines: dict[str, list[float]] = {}
    forms = beliefs(found)
    for sample, rows in (("in-sample", ~found.out_of_sample), ("out of sample", found.out_of_sample)):
        for name, states, present, high in KINDS:
            at = np.isin(found.given, states) & rows[:, None]
            wrong = truth == present
            for form, values in forms.items():
                if (at & wrong).any() and np.isfinite(values[at]).all():
                    lines[f"{sample}, {name}, {form}"] = scores(at, wrong, values if high else -values, found)
        at = (found.given <= LabelState.POSITIVE) & rows[:, None]
        wrong = truth != (found.given == LabelState.POSITIVE)
        for form, values in forms.items():
            if (at & wrong).any() and (found.given == LabelState.POSITIVE).any() and np.isfinite(values[at]).all():
                shown = np.nan_to_num(ranking.distrust(values, found.given))
                lines[f"{sample}, labels, {form}"] = scores(at, wrong, shown, found)
    return lines


def scores(at: np.ndarray, wrong: np.ndarray, shown: np.ndarray, found: Evidence) -> list[float]:
    """In percent: AP over the entries `at`, the base rate, and the mean over each group's classes of AP within one."""
    parts = [average_precision_score(wrong[at], shown[at]), wrong[at].mean()]
    for mask in found.groups.values():
        within = [
            average_precision_score(wrong[at[:, j], j], shown[at[:, j], j])
            for j in np.flatnonzero(mask)
            if wrong[at[:, j], j].any()
        ]
        parts.append(np.mean(within) if within else np.nan)
    return [100 * float(part) for part in parts]


def main() -> None:
    """Print the lines of all audits: means, with standard deviations where there are several."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audits", nargs="+", metavar="WORKDIR[,WORKDIR...]")
    parser.add_argument("--truth", action="append", default=[], metavar="FILE")
    arguments, lines = parser.parse_intermixed_args(), []
    files, audits = arguments.truth, [[Path(name) for name in join_names(word.split(","))] for word in arguments.audits]
    for number, workdirs in enumerate(audits):
        file = files[min(number, len(files) - 1)] if files else ""
        found = evidence.collect(workdirs)
        lines.append(measure(found, true_labels(found, workdirs[0], file)))
    print(f"{len(audits)} audits; AP, base, {', '.join(GROUPS)}")
    for name in lines[0]:
        numbers = [line[name] for line in lines if name in line]
        spread = np.std(numbers, axis=0, ddof=1) if len(numbers) > 1 else np.zeros(len(numbers[0]))
        shown = [f"{mean:.1f} ± {error:.1f}" for mean, error in zip(np.mean(numbers, 0), spread, strict=True)]
        print(f"{name}: {', '.join(shown)}", flush=True)


if __name__ == "__main__":
    main()
