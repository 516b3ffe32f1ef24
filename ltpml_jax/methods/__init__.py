"""The methods by name; an editor can follow each entry from here. A new method is one file and one line."""

from ltpml_jax.methods import co_label_selection, comic, coteaching, elr, losses, ndlp, noise_model, supervised
from ltpml_jax.methods.base import Entry, Method
from ltpml_jax.methods.comic_losses import ComicSettings

__all__ = ["METHODS", "SECTIONS", "Entry", "Method"]

METHODS = {
    "ndlp": Entry(ndlp.ndlp, {"ndlp": ndlp.NDLPSettings, "db": losses.DBSettings}),
    "noise_model": Entry(noise_model.noise_model, {"noise": noise_model.NoiseSettings}),
    "bce": Entry(supervised.bce, {}),
    "db_focal": Entry(supervised.db_focal, {"db": losses.DBSettings}),
    "cls": Entry(co_label_selection.cls, {"cls": co_label_selection.CLSSettings}),
    "coteaching": Entry(coteaching.coteaching, {"small_loss": coteaching.SmallLossSettings}),
    "coteaching_plus": Entry(
        coteaching.coteaching_plus,
        {"small_loss": coteaching.SmallLossSettings, "coteaching_plus": coteaching.CoteachingPlusSettings},
    ),
    "jocor": Entry(coteaching.jocor, {"small_loss": coteaching.SmallLossSettings, "jocor": coteaching.JoCoRSettings}),
    "elr": Entry(elr.elr, {"elr": elr.ELRSettings}),
    "comic": Entry(comic.comic, {"comic": ComicSettings}),
}
# Every section that some method takes, in the order of METHODS.
SECTIONS = {name: kind for entry in METHODS.values() for name, kind in entry.sections.items()}
