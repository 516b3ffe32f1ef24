"""Single runs with what `benchmarks.table` chose, for benchmarks that change something else."""

from pathlib import Path

import ltpml_jax
from benchmarks import table
from configs import digits_mlt
from ltpml_jax.data.labels import GROUPS
from ltpml_jax.methods.settings import Config


def config_of(argument: str, rate: float, seed: int) -> Config:
    """A final run of the table by SGD and a cosine: digits_mlt's config argument, learning rate, seed."""
    config = digits_mlt.get_config(argument)
    config.seed = config.data.candidate_seed = seed
    final = {"data.validation": 0.0, "train.epochs": table.EPOCHS, "optim.learning_rate": rate}
    config.update_from_flattened_dict(table.COMMON | table.SGD | final)
    return config


def scored(config: Config, workdir: Path) -> list[float]:
    """Test mAP in percent, total and by group, of a run that is trained where it is not there yet."""
    found = ltpml_jax.train(config, workdir)[f"last (epoch {table.EPOCHS})"]
    return [found[f"mAP_{part}"] for part in ("total", *GROUPS)]
