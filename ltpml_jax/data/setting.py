"""The LT-PML setting of a run: what training is given of a dataset, and what it is not."""

from typing import NamedTuple

import numpy as np

from ltpml_jax import priors
from ltpml_jax.data import candidates, sampler, source
from ltpml_jax.errors import UserError
from ltpml_jax.types import Config


class Setting(NamedTuple):
    """N training images (rows `train` of the dataset's training split), C classes.

    served int8 [N, C]: the labels that training sees; lists int8 [N, C]: those that the class-aware sampler walks;
    validation_labels int8 [V, C]: candidates of the held-out rows; digest: sha256 of all candidate sets.
    """

    dataset: source.Dataset
    train: np.ndarray
    validation: np.ndarray
    served: np.ndarray
    lists: np.ndarray
    validation_labels: np.ndarray
    prior: priors.Prior
    digest: str
    steps_per_epoch: int


def make_setting(config: Config) -> Setting:
    """Load the dataset, draw its candidate sets, and derive what method and sampler may know.

    With `estimated` priors nothing here depends on the true labels but through the candidate sets.
    """
    dataset = source.load(config.data.name, config.data.dir)
    truth = dataset.train.labels
    table = candidates.draw_candidates(truth, config.data.partial_rate, config.data.candidate_seed)
    train, held = candidates.split_validation(len(truth), config.data.validation, config.data.candidate_seed)
    served = truth[train] if config.data.labels == "clean" else table[train]
    oracle = config.method.priors == "oracle"
    prior = priors.oracle_prior(truth[train]) if oracle else priors.estimated_prior(served)
    return Setting(
        dataset=dataset,
        train=train,
        validation=held,
        served=served,
        lists=truth[train] if oracle else served,
        validation_labels=table[held],
        prior=prior,
        digest=candidates.digest(table),
        steps_per_epoch=_steps(config, prior, len(train)),
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
