"""The LT-PML task of a run: what training is given of a dataset, and what it is not."""

from typing import NamedTuple

import numpy as np

from ltpml_jax.data import corruption, datasets, manifest, sampler, streams
from ltpml_jax.data.candidates import LabelRows
from ltpml_jax.data.labels import LabelState, is_clean
from ltpml_jax.data.records import Split
from ltpml_jax.errors import UserError
from ltpml_jax.methods import priors
from ltpml_jax.methods.label_states import listed
from ltpml_jax.methods.settings import Config


class Task(NamedTuple):
    """N training images (rows `train` of the dataset's training split), C classes; the other rows are held out.

    served: the label states [N, C] that training sees; lists: those that the class-aware sampler walks; both are made
    a few rows at a time. validation: rows of `held_out`, the split that chooses `best`, with validation_labels int8
    [V, C], 1 for every positive and candidate; digest: sha256 of all states before the split.
    """

    dataset: datasets.Dataset
    train: np.ndarray
    held_out: Split
    validation: np.ndarray
    served: LabelRows
    lists: LabelRows
    validation_labels: np.ndarray
    prior: priors.Prior
    digest: str
    steps_per_epoch: int


def make_task(config: Config) -> Task:
    """Load the dataset, choose its candidate sets, and derive what method and sampler may know.

    With `estimated` priors nothing here depends on the true labels but through the candidate sets.

    Raises UserError where the config asks for true labels that the dataset does not have, and for what `datasets.load`,
    `manifest.load` and the samplers refuse.
    """
    dataset = datasets.load(config.data.name, config.data.dir)
    candidates = candidate_sets(config, dataset)
    train, held = _parts(config, candidates)
    held_out, validation, judged_by = _held_out(config, dataset, candidates, held)
    clean = config.data.labels == "clean"
    served = (_truth(dataset, "data.labels") if clean else candidates).of(train)
    lists = _truth(dataset, "data.priors").of(train) if config.data.priors == "oracle" else served
    prior = _prior(config, lists, served)
    seen = np.asarray(prior.state_count)[[LabelState.POSITIVE, LabelState.CANDIDATE]]
    if not seen.any():
        raise UserError(f"No training image of {dataset.name} has a positive or candidate label; give it some.")
    return Task(
        dataset=dataset,
        train=train,
        held_out=held_out,
        validation=validation,
        served=served,
        lists=lists,
        validation_labels=listed(judged_by[:]).astype(np.int8),
        prior=prior,
        digest=candidates.digest(),
        steps_per_epoch=_steps(config, prior, len(train)),
    )


def candidate_sets(config: Config, dataset: datasets.Dataset) -> LabelRows:
    """Candidate sets of all training images: from the config's file, or drawn, or as annotators left them."""
    data, states = config.data, dataset.train.labels
    every_row, seed = np.arange(len(states)), data.candidate_seed
    if data.candidates:
        found = manifest.load(data.candidates)
        manifest.check(found, states, dataset.name)
        return LabelRows(found.table, every_row, data.unknown)
    match data.noise:
        case "tail_biased":
            return LabelRows(corruption.tail_biased(states, data.partial_rate, seed), every_row, data.unknown)
        case "missing":
            return LabelRows(corruption.missing(states, data.missing_rate, seed, False), every_row, data.unknown)
        case "single":
            return LabelRows(corruption.single(states, seed), every_row, data.unknown)
    return LabelRows(states, every_row, data.unknown, data.partial_rate, seed)


def _held_out(config: Config, dataset: datasets.Dataset, candidates: LabelRows, held: np.ndarray):
    """The split that chooses `best`, its rows and their labels: the dataset's own, or what is held out of training."""
    if dataset.validation is None:
        return dataset.train, held, candidates.of(held)
    if config.data.validation:
        raise UserError(f"{dataset.name} has a validation split of its own; set config.data.validation to 0.")
    rows = np.arange(len(dataset.validation.labels))
    return dataset.validation, rows, LabelRows(dataset.validation.labels, rows, config.data.unknown)


def _prior(config: Config, lists: LabelRows, served: LabelRows) -> priors.Prior:
    columns, states = lists.candidate_counts(), served.state_counts()
    if config.data.priors == "oracle":
        return priors.oracle_prior(columns, len(lists), states)
    return priors.estimated_prior(columns, len(lists), states, served.empty_count())


def _labelled(labels: LabelRows) -> np.ndarray:
    """Rows int64 [n] of the images with a positive or a candidate; UserError where there is none."""
    rows = np.concatenate([start + np.flatnonzero(listed(block).any(1)) for start, block in labels.blocks()])
    if not len(rows):
        raise UserError(
            "config.data.drop_empty leaves no training image, as none has a positive or candidate left; set it to "
            "False, or config.data.missing_rate lower."
        )
    return rows


def split_validation(n: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted, disjoint int64 rows (training, validation) of `n` samples; round(n * fraction) validate.

    Raises:
        UserError: the fraction is outside [0, 1) or leaves no training sample.
    """
    if not 0.0 <= fraction < 1.0:
        raise UserError(f"config.data.validation is {fraction}; set it to at least 0 and below 1.")
    held_out = round(n * fraction)
    if held_out == n:
        raise UserError(f"config.data.validation={fraction:g} leaves none of {n} training images; lower it.")
    order = np.argsort(streams.raw(n, seed, streams.Purpose.VALIDATION), kind="stable")
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def split_fold(n: int, fold: str) -> tuple[np.ndarray, np.ndarray]:
    """Sorted, disjoint int64 rows (training, held out) of `n` samples for the fold "k/K", k from 1 to K.

    The K folds part the samples, in an order that depends on nothing but `n`, into parts whose sizes differ by one at
    most: equal on every machine, and disjoint whatever the seeds of the K runs. They are not stratified.

    Raises:
        UserError: there are fewer samples than folds.
    """
    number, folds = (int(part) for part in fold.split("/"))
    if n < folds:
        raise UserError(f"config.data.fold is {fold!r}, but there are only {n} training images; take fewer folds.")
    order = np.argsort(streams.raw(n, 0, streams.Purpose.FOLDS), kind="stable")
    start, stop = (number - 1) * n // folds, number * n // folds
    return np.sort(np.concatenate([order[:start], order[stop:]])), np.sort(order[start:stop])


def _parts(config: Config, candidates: LabelRows) -> tuple[np.ndarray, np.ndarray]:
    """Rows int64 (training, held out); images without a label are left out of training where the config says so."""
    data, everything = config.data, np.arange(len(candidates))
    rows = _labelled(candidates) if data.drop_empty else everything
    if data.fold:  # of all images, so that folds are disjoint whatever labels each run drew
        train, held = split_fold(len(everything), data.fold)
        return np.intersect1d(train, rows), held
    train, held = split_validation(len(rows), data.validation, data.candidate_seed)
    return rows[train], rows[held]


def origin(config: Config) -> str:
    """Where the labels of training come from, a few words."""
    data = config.data
    if data.labels == "clean":
        return "clean labels"
    if data.candidates:
        return f"candidates of {data.candidates}"
    return {
        "partial": f"partial rate {data.partial_rate:g}",
        "tail_biased": f"partial rate {data.partial_rate:g}, biased to the tail",
        "missing": f"{data.missing_rate:g} of the positives missing",
        "single": "a single positive an image",
    }[data.noise]


def _truth(dataset: datasets.Dataset, field: str) -> LabelRows:
    """The true training labels; UserError where the dataset does not know them and `field` asks for them."""
    if is_clean(dataset.train.labels):
        return LabelRows(dataset.train.labels, np.arange(len(dataset.train.labels)), "negative")
    value, other = {"data.labels": ("clean", "candidates"), "data.priors": ("oracle", "estimated")}[field]
    raise UserError(
        f"config.{field} is {value!r}, but {dataset.name} does not know its true labels (some are candidates or "
        f"unknown); set it to {other!r}."
    )


def _steps(config: Config, prior: priors.Prior, size: int) -> int:
    if config.data.sampler == "class_aware":
        return sampler.steps_per_epoch(np.asarray(prior.class_count), config.data.batch_size)
    if size < config.data.batch_size:
        raise UserError(
            f"config.data.batch_size is {config.data.batch_size}, but there are only {size} training images; "
            "make it smaller."
        )
    return size // config.data.batch_size
