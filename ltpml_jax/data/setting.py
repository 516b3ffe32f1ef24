"""The LT-PML setting of a run: what training is given of a dataset, and what it is not."""

from typing import NamedTuple

import numpy as np

from ltpml_jax import priors
from ltpml_jax.data import corruption, manifest, sampler, source, streams
from ltpml_jax.data.labels import LabelState, is_clean
from ltpml_jax.data.records import Split
from ltpml_jax.errors import UserError
from ltpml_jax.types import Config


class Setting(NamedTuple):
    """N training images (rows `train` of the dataset's training split), C classes.

    served int8 [N, C]: the labels that training sees; lists int8 [N, C]: those that the class-aware sampler walks;
    validation: rows of `held_out`, the split that chooses `best`, with validation_labels int8 [V, C], 1 for every
    class that may be there; digest: sha256 of all candidate sets.
    """

    dataset: source.Dataset
    train: np.ndarray
    held_out: Split
    validation: np.ndarray
    served: np.ndarray
    lists: np.ndarray
    validation_labels: np.ndarray
    prior: priors.Prior
    digest: str
    steps_per_epoch: int


def make_setting(config: Config) -> Setting:
    """Load the dataset, settle its candidate sets, and derive what method and sampler may know.

    With `estimated` priors nothing here depends on the true labels but through the candidate sets.

    Raises UserError where the config asks for true labels that the dataset does not have, and for what `source.load`,
    `manifest.load` and the samplers refuse.
    """
    dataset = source.load(config.data.name, config.data.dir)
    truth = dataset.train.labels
    table = candidate_sets(config, dataset)
    train, held = split_validation(len(truth), config.data.validation, config.data.candidate_seed)
    held_out, validation, validation_labels = dataset.train, held, table[held]
    if dataset.validation is not None:
        if len(held):
            raise UserError(f"{dataset.name} has a validation split of its own; set config.data.validation to 0.")
        held_out, validation = dataset.validation, np.arange(len(dataset.validation.labels))
        validation_labels = may_be_there(dataset.validation.labels, config)
    served = _truth(config, dataset, "data.labels")[train] if config.data.labels == "clean" else table[train]
    oracle = config.method.priors == "oracle"
    lists = _truth(config, dataset, "method.priors")[train] if oracle else served
    prior = priors.oracle_prior(lists) if oracle else priors.estimated_prior(served)
    return Setting(
        dataset=dataset,
        train=train,
        held_out=held_out,
        validation=validation,
        served=served,
        lists=lists,
        validation_labels=validation_labels,
        prior=prior,
        digest=manifest.digest(table),
        steps_per_epoch=_steps(config, prior, len(train)),
    )


def candidate_sets(config: Config, dataset: source.Dataset) -> np.ndarray:
    """int8 [N, C] in {0, 1} of all training images: from the config's file, or drawn, or as annotators left them."""
    data, states = config.data, dataset.train.labels
    if data.candidates:
        found = manifest.load(data.candidates)
        manifest.check(found, states, dataset.name)
        return may_be_there(found.table, config)
    return corruption.draw_candidates(may_be_there(states, config), data.partial_rate, data.candidate_seed)


def split_validation(n: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted, disjoint int64 rows (training, validation) of `n` samples; round(n * fraction) validate.

    Raises:
        UserError: the fraction is outside [0, 1) or leaves no training sample.
    """
    if not 0.0 <= fraction < 1.0:
        raise UserError(f"the validation fraction is {fraction}; set it to at least 0 and below 1.")
    held_out = round(n * fraction)
    if held_out == n:
        raise UserError(f"a validation fraction of {fraction} leaves none of {n} training images; lower it.")
    order = np.argsort(streams.raw(n, seed, streams.Purpose.VALIDATION), kind="stable")
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def origin(config: Config) -> str:
    """Where the candidate sets come from, a few words."""
    data = config.data
    return f"candidates of {data.candidates}" if data.candidates else f"partial rate {data.partial_rate:g}"


def may_be_there(states: np.ndarray, config: Config) -> np.ndarray:
    """1 where a class is positive, a candidate, or (as config.data.unknown says) unknown: int8 [N, C] of states."""
    there = (states == LabelState.POSITIVE) | (states == LabelState.CANDIDATE)
    if config.data.unknown == "candidate":
        there |= states == LabelState.UNKNOWN
    return there.astype(np.int8)


def _truth(config: Config, dataset: source.Dataset, field: str) -> np.ndarray:
    """The true training labels; UserError where the dataset does not know them and `field` asks for them."""
    if is_clean(dataset.train.labels):
        return dataset.train.labels
    value, other = {"data.labels": ("clean", "candidates"), "method.priors": ("oracle", "estimated")}[field]
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
