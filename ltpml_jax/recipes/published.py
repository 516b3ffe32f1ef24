"""The published training recipe and hyper-parameters of each method, by data set, as config fields.

Sources: the papers and their released code; ../docs/methods.md and ../docs/differences.md say where the two differ.
What no source gives is left as the config has it. None of this has been run on photographs here.
"""

from collections.abc import Callable
from typing import NamedTuple

from ltpml_jax.methods.settings import Config
from ltpml_jax.recipes.argument import Argument


class Published(NamedTuple):
    """What the sources say of a data set.

    tau_h: CLS's share by share of labels left (0: single positives), Table 1; tau_l: the other share. expected: labels
    an image (SPML). pu: gamma, alpha and rate of PU-MLC. comic: epochs between drops of COMIC's rates. unlabelled:
    top-k of P-ASL an image, by number of classes.
    """

    tau_h: dict[float, float]
    tau_l: float
    expected: float
    pu: tuple[float, float, float]
    comic: str
    unlabelled: int


FAMILIES = {
    "voc": Published({0.75: 0.002, 0.5: 0.003, 0.25: 0.005, 0.0: 0.005}, 0.02, 1.5, (0.85, 2.0, 4e-5),
        "balanced.feature=12,attention=18,balanced.classifier=18,head=12,tail=24", 1),
    "coco": Published({0.75: 0.005, 0.5: 0.010, 0.25: 0.012, 0.0: 0.012}, 0.06, 2.9, (0.55, 1.0, 1e-4),
        "balanced.feature=12,attention=18,balanced.classifier=18,head=24,tail=12", 5),
    "nuswide": Published({0.75: 0.006, 0.5: 0.012, 0.25: 0.020, 0.0: 0.020}, 0.06, 1.9, (0.55, 1.0, 1e-4),
        "balanced.feature=12,attention=18,balanced.classifier=18,head=24,tail=12", 5),
}  # fmt: skip


def apply_method(config: Config, wanted: Argument, family: str) -> None:
    """Set config.method.name, and the fields of the method's recipe; family: a key of FAMILIES."""
    config.method.name = wanted.method
    if wanted.method in RECIPES:
        RECIPES[wanted.method](config, wanted, FAMILIES[family])


def shared(config: Config, wanted: Argument, source: Published) -> None:
    """The recipe that all systems of the CLS paper's table share: Adam, cosine, 7/8 of each side, batch 120."""
    plain_images(config)
    config.data.min_crop = config.data.max_crop = 0.875  # of each side, whatever the image's ratio
    config.data.crop_ratio = (0.001, 1000.0)
    config.data.sampler, config.data.batch_size, config.train.epochs = "shuffle", 120, 100
    config.model.frozen_stages, config.model.backbone_norm = 0, "batch"
    config.optim.name, config.optim.learning_rate, config.optim.schedule = "adam", 4e-5, "cosine"
    config.optim.weight_decay = 1e-4


def plain_images(config: Config) -> None:
    """No photometric distortion."""
    jitter = config.jitter
    jitter.brightness, jitter.hue, jitter.channel_shuffle = 0.0, 0.0, False
    jitter.contrast, jitter.saturation = (1.0, 1.0), (1.0, 1.0)


def cls(config: Config, wanted: Argument, source: Published) -> None:
    """CLS: shares by how many labels are left; those of the nearest published share elsewhere."""
    shared(config, wanted, source)
    left = {"single": 0.0, "missing": 1 - wanted.missing_rate}.get(wanted.noise, 0.5)
    nearest = min(source.tau_h, key=lambda share: abs(share - left))
    config.cls.tau_h, config.cls.tau_l = source.tau_h[nearest], source.tau_l


def expected_positives(config: Config, wanted: Argument, source: Published) -> None:
    """EPR and ROLE under the shared recipe; ROLE's table has ten times the network's rate."""
    shared(config, wanted, source)
    config.epr.expected_positives = config.role.expected_positives = source.expected
    config.role.label_rate = 10 * config.optim.learning_rate


def splc(config: Config, wanted: Argument, source: Published) -> None:
    """SPLC: a higher threshold where three quarters of the labels are left."""
    shared(config, wanted, source)
    config.splc.threshold = 0.65 if wanted.noise == "missing" and wanted.missing_rate <= 0.25 else 0.6


def pasl(config: Config, wanted: Argument, source: Published) -> None:
    """P-ASL: how many unannotated labels an image are ignored."""
    shared(config, wanted, source)
    config.pasl.top_k = source.unlabelled


def pu_mlc(config: Config, wanted: Argument, source: Published) -> None:
    """PU-MLC's loss: exponents, temperature and rate of its released code."""
    shared(config, wanted, source)
    config.pu_mlc.gamma, config.pu_mlc.alpha, config.optim.learning_rate = source.pu


def comic(config: Config, wanted: Argument, source: Published) -> None:
    """COMIC: Adam with rates and drops of their own for each part, frozen backbones, torchvision's random crop."""
    plain_images(config)
    config.data.min_crop, config.data.crop_ratio = 0.28, (0.75, 4 / 3)  # 0.28 squared: 8 % of the area
    config.data.sampler, config.data.batch_size, config.train.epochs = "shuffle", 32, 40
    config.model.frozen_stages = 4
    config.optim.name, config.optim.learning_rate, config.optim.multipliers = "adam", 1e-3, "classifier=0.1"
    config.optim.schedule, config.optim.drop_every = "step", source.comic
    config.optim.weight_decay = 1e-4


def balanced(config: Config, wanted: Argument, source: Published) -> None:
    """DB and DB-focal: warm-up, drops after epochs 5 and 7 of 8, clipped gradients."""
    config.train.epochs = 8
    config.optim.warmup_steps, config.optim.warmup_from = 500, 1 / 3
    config.optim.schedule, config.optim.drop_epochs, config.optim.clip_norm = "step", (5.0, 7.0), 35.0


def lws(config: Config, wanted: Argument, source: Published) -> None:
    """LWS: five epochs on a finished run, which config.model.start_from has to name; its rate is for a batch of 512."""
    config.train.epochs, config.optim.schedule = 5, "cosine"
    config.optim.learning_rate = 0.2 * config.data.batch_size / 512
    config.optim.weight_decay = 5e-4


def noise_model(config: Config, wanted: Argument, source: Published) -> None:
    """The noise model: plain shuffle and a cosine; its rates were chosen on digits_mlt, not on photographs."""
    config.data.sampler, config.optim.schedule, config.optim.weight_decay = "shuffle", "cosine", 1e-5
    config.train.epochs = 20


RECIPES: dict[str, Callable[[Config, Argument, Published], None]] = {
    "noise_model": noise_model,
    "bce": shared,
    "db": balanced,
    "db_focal": balanced,
    "focal": shared,
    "asl": shared,
    "pasl": pasl,
    "hill": shared,
    "splc": splc,
    "wan": shared,
    "an_ls": shared,
    "epr": expected_positives,
    "role": expected_positives,
    "pu_mlc": pu_mlc,
    "elr": shared,
    "comic": comic,
    "cls": cls,
    "coteaching": shared,
    "coteaching_plus": shared,
    "jocor": shared,
    "lws": lws,
}
