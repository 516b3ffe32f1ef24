"""What finished runs have to say of every training label: scores without augmentation, and the method's own table.

Of several runs on the same labels, an image's score comes from those that did not train on it, where there are any;
the runs of K folds (config.data.fold) so give every image one out-of-sample score.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from ltpml_jax.data import loader, prepared
from ltpml_jax.data.candidates import UNKNOWN_AS
from ltpml_jax.data.labels import LabelState
from ltpml_jax.data.records import Records
from ltpml_jax.data.task import origin
from ltpml_jax.errors import UserError
from ltpml_jax.evaluation.opened import OpenRun, open_run
from ltpml_jax.evaluation.prediction import predict_all
from ltpml_jax.methods.base import Method
from ltpml_jax.methods.label_states import listed
from ltpml_jax.methods.priors import counts_beside_known


class RunScores(NamedTuple):
    """One run on all N training images of its dataset, C classes.

    score float32 [N, C]: sigmoid of the headline logits, NaN where the image cannot be read; soft float32 [N, C]: the
    method's soft labels, NaN in rows that did not train, None where it keeps none; trained bool [N]; step: of the
    checkpoint.
    """

    score: np.ndarray
    soft: np.ndarray | None
    trained: np.ndarray
    step: int


class Evidence(NamedTuple):
    """What is known of N images and C classes, of one run or of several together.

    given int8 [N, C] of LabelState; score float32 [N, C], NaN for unreadable images; soft float32 [N, C], NaN where
    there is none, None without any; size int64 [N]: classes in the image's candidate set, as training saw it;
    out_of_sample bool [N]; step int64 [N]: of the checkpoint behind the score (the latest of several); flip_rate: see
    `flip_rate`; drawn: where the run drew the labels, in words, "" where they are those of the dataset; record: for
    summary.json; disagreements: int64 [D, 4] of listing.ListedSplit.
    """

    class_names: tuple[str, ...]
    groups: dict[str, np.ndarray]
    records: Records
    given: np.ndarray
    score: np.ndarray
    soft: np.ndarray | None
    size: np.ndarray
    out_of_sample: np.ndarray
    step: np.ndarray
    flip_rate: float
    drawn: str
    record: dict[str, Any]
    disagreements: np.ndarray


def collect(workdirs: Sequence[Path], data_dir: str | Path = "", method: Method | None = None) -> Evidence:
    """Open runs on the same labels, one at a time, and put what they say together; method: one that they were given.

    Raises UserError where a run cannot be opened, or two were not trained on the same labels.
    """
    first: OpenRun | None = None
    found, seeds = [], []
    for workdir in workdirs:
        opened = open_run(workdir, method, data_dir)
        first = first or opened
        check_same(first, workdirs[0], opened, workdir)
        found.append(run_scores(opened))
        seeds.append(opened.config.seed)
    if first is None:
        raise UserError("There is no run to audit with; give --workdir=DIR of a finished one.")
    score, soft, out_of_sample, step = together(found)
    given = given_labels(first)
    record = {
        "dataset": first.run.task.dataset.name,
        "candidates_sha256": first.run.task.digest,
        "method": first.config.method.name,
        "workdirs": [str(path) for path in workdirs],
        "seeds": seeds,
        "steps": [one.step for one in found],
    }
    dataset, sizes = first.run.task.dataset, set_sizes(given, first.run.task.served.unknown)
    return Evidence(
        dataset.class_names, dataset.groups, dataset.train.records, given, score, soft, sizes,
        out_of_sample, step, flip_rate(given), drawn_by(first, given), record,
        prepared.disagreements(dataset.train.records.folder, "train", given.shape),
    )  # fmt: skip


def given_labels(opened: OpenRun) -> np.ndarray:
    """The labels that training was given, of held-out images as well, int8 [N, C]; what was unknown is so here."""
    return opened.run.task.served.whole("unknown")[:]


def flip_rate(given: np.ndarray) -> float:
    """P(candidate | absent) among the labels int8 [N, C] that are not unknown, estimated; 0 without candidates.

    Not the rate that the run's method had: to that one an unknown label may be a candidate.
    """
    states = np.stack([(given == state).sum(0) for state in LabelState])
    return counts_beside_known(states)[0] if states[LabelState.CANDIDATE].any() else 0.0


def set_sizes(given: np.ndarray, unknown: str) -> np.ndarray:
    """How many classes training saw in each image's candidate set (with positives), int64 [N].

    given: labels int8 [N, C]; unknown: what training made of the unknown ones, a key of UNKNOWN_AS.
    """
    return listed(np.where(given == LabelState.UNKNOWN, UNKNOWN_AS[unknown], given)).sum(1)


def drawn_by(opened: OpenRun, given: np.ndarray) -> str:
    """What made the given labels int8 [N, C] of the dataset's own before training, in words; "" where nothing did."""
    own = np.asarray(opened.run.task.dataset.train.labels)
    return "" if np.array_equal(given, own) else origin(opened.config)


def check_same(first: OpenRun, one: Path, opened: OpenRun, other: Path) -> None:
    """UserError where two runs have other classes or labels."""
    mine, theirs = first.run.task, opened.run.task
    if first.class_names != opened.class_names or (mine.dataset.name, mine.digest) != (
        theirs.dataset.name,
        theirs.digest,
    ):
        raise UserError(
            f"The runs {one} and {other} were not trained on the same labels; audit runs of one dataset with one "
            "config.data.candidate_seed."
        )


def run_scores(opened: OpenRun) -> RunScores:
    """Scores of all training images by a pass without augmentation, and the soft labels of those that trained."""
    run, network, task = opened.run, opened.network, opened.run.task
    images, classes = len(task.dataset.train.labels), len(task.dataset.class_names)
    feed = loader.all_training_batches(run.config, task, run.mesh)
    outputs = predict_all(network.predict, network.weights, network.rest, feed, images)
    score = np.asarray(jax.nn.sigmoid(outputs[opened.predictions[0]]))
    trained = np.zeros(images, bool)
    trained[task.train] = True
    soft = None
    if network.method.beliefs is not None:
        soft = np.full((images, classes), np.nan, np.float32)
        soft[task.train] = opened.beliefs()[0]
    return RunScores(score, soft, trained, network.step)


def together(found: Sequence[RunScores]) -> tuple[np.ndarray, np.ndarray | None, np.ndarray, np.ndarray]:
    """(score, soft, out_of_sample, step) of several runs, as in Evidence.

    Scores are averaged over the runs that did not train on the image, over all where there is none; soft labels over
    the runs that trained on it.
    """
    trained = np.stack([one.trained for one in found])
    out_of_sample = ~np.all(trained, axis=0)
    counts = ~trained | ~out_of_sample[None]
    score = np.average(np.stack([one.score for one in found]), axis=0, weights=_spread(counts, found[0].score))
    steps = np.array([one.step for one in found])
    step = np.where(counts, steps[:, None], -1).max(0)
    if any(one.soft is None for one in found):
        return score.astype(np.float32), None, out_of_sample, step
    tables = np.stack([one.soft for one in found if one.soft is not None])
    total, number = np.nansum(tables, axis=0), trained.sum(0)[:, None]
    soft = np.where(number > 0, total / np.maximum(number, 1), np.nan)
    return score.astype(np.float32), soft.astype(np.float32), out_of_sample, step


def _spread(counts: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Weights [runs, N] for every class, [runs, N, C]."""
    return np.broadcast_to(counts[..., None], (*counts.shape, like.shape[1]))
