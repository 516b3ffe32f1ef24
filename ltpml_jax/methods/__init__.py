"""The methods by name. Each entry builds a `Method` from a config; an editor can follow it from here."""

from ltpml_jax.losses import DBParams
from ltpml_jax.methods import ndlp, supervised
from ltpml_jax.methods.base import Method
from ltpml_jax.types import Config

__all__ = ["METHODS", "Method", "build"]


def build(config: Config) -> Method:
    """The method that config.method.name chooses."""
    return METHODS[config.method.name](config)


def _ndlp(config: Config) -> Method:
    loss = DBParams(**config.db)
    return ndlp.ndlp(ndlp.NDLPParams(loss=loss, epochs=config.train.epochs, **config.ndlp))


def _bce(config: Config) -> Method:
    return supervised.bce()


def _db_focal(config: Config) -> Method:
    return supervised.db_focal(DBParams(**config.db))


METHODS = {"ndlp": _ndlp, "bce": _bce, "db_focal": _db_focal}
