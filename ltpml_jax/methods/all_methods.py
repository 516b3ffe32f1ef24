"""The methods by name; an editor can follow each entry from here. A new method is one file and one line."""

from ltpml_jax.methods import (
    assume_negative,
    asymmetric,
    co_label_selection,
    comic,
    coteaching,
    elr,
    hill,
    losses,
    lws,
    ndlp,
    noise_model,
    pu_mlc,
    role,
    supervised,
)
from ltpml_jax.methods.base import Entry
from ltpml_jax.methods.comic_losses import ComicSettings

METHODS = {
    "ndlp": Entry(ndlp.ndlp, {"ndlp": ndlp.NDLPSettings, "db": losses.DBSettings}),
    "noise_model": Entry(noise_model.noise_model, {"noise": noise_model.NoiseSettings}),
    "bce": Entry(supervised.bce, {}),
    "db": Entry(supervised.db, {"db": losses.DBSettings}),
    "db_focal": Entry(supervised.db_focal, {"db": losses.DBSettings}),
    "focal": Entry(asymmetric.focal, {"focal": asymmetric.FocalSettings}),
    "asl": Entry(asymmetric.asl, {"asl": asymmetric.ASLSettings}),
    "pasl": Entry(asymmetric.pasl, {"pasl": asymmetric.PASLSettings}),
    "hill": Entry(hill.hill, {"hill": hill.HillSettings}),
    "splc": Entry(hill.splc, {"splc": hill.SPLCSettings}),
    "wan": Entry(assume_negative.wan, {"wan": assume_negative.WANSettings}),
    "an_ls": Entry(assume_negative.an_ls, {"an_ls": assume_negative.ANLSSettings}),
    "epr": Entry(assume_negative.epr, {"epr": assume_negative.EPRSettings}),
    "role": Entry(role.role, {"role": role.RoleSettings}),
    "pu_mlc": Entry(pu_mlc.pu_mlc, {"pu_mlc": pu_mlc.PUMLCSettings}),
    "cls": Entry(co_label_selection.cls, {"cls": co_label_selection.CLSSettings}),
    "coteaching": Entry(coteaching.coteaching, {"small_loss": coteaching.SmallLossSettings}),
    "coteaching_plus": Entry(
        coteaching.coteaching_plus,
        {"small_loss": coteaching.SmallLossSettings, "coteaching_plus": coteaching.CoteachingPlusSettings},
    ),
    "jocor": Entry(coteaching.jocor, {"small_loss": coteaching.SmallLossSettings, "jocor": coteaching.JoCoRSettings}),
    "elr": Entry(elr.elr, {"elr": elr.ELRSettings}),
    "comic": Entry(comic.comic, {"comic": ComicSettings}),
    "lws": Entry(lws.lws, {}, second_stage=True),
}
# Every section that some method takes, in the order of METHODS.
SECTIONS = {name: kind for entry in METHODS.values() for name, kind in entry.sections.items()}
