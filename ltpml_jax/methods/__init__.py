"""The methods by name; an editor can follow each entry from here. A new method is one file and one line."""

from ltpml_jax.methods import losses, ndlp, noise_model, supervised
from ltpml_jax.methods.base import Entry, Method

__all__ = ["METHODS", "SECTIONS", "Entry", "Method"]

METHODS = {
    "ndlp": Entry(ndlp.ndlp, {"ndlp": ndlp.NDLPSettings, "db": losses.DBSettings}),
    "noise_model": Entry(noise_model.noise_model, {"noise": noise_model.NoiseSettings}),
    "bce": Entry(supervised.bce, {}),
    "db_focal": Entry(supervised.db_focal, {"db": losses.DBSettings}),
}
# Every section that some method takes, in the order of METHODS.
SECTIONS = {name: kind for entry in METHODS.values() for name, kind in entry.sections.items()}
