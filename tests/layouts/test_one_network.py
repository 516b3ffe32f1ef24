"""Golden files of one-network losses: those shipped, where they lie beside the repository, and others by definition."""

from pathlib import Path

import jax
import numpy as np
import pytest

from tests import replay
from tests.helpers import plain
from tests.layouts import one_network
from tests.layouts.base import Golden
from tests.methods.test_losses import COCO, VOC, plain_db_focal

pytestmark = pytest.mark.usefixtures("least_optimised")

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "methods"
SHIPPED = {
    "asl": 64, "hill_splc": 40, "pasl": 48, "spml_wan_epr_role": 60, "pumlc_vpu": 12, "dbloss_voc": 26,
}  # fmt: skip


def verdict(folder: Path, gold: Golden) -> tuple[bool, str]:
    path = folder / "file.npz"
    np.savez(path, **gold)  # pyright: ignore[reportArgumentType]
    with jax.enable_x64(True):
        return replay.verdict(str(path))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_files(name):
    path = GOLDEN / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with jax.enable_x64(True):
        good, line = replay.verdict(str(path))
    assert good and f"ok {SHIPPED[name]} arrays" in line, line


def inputs(seed: int, sizes: dict[str, tuple[int, int]]) -> Golden:
    """Logits and labels of sets by name; float32 values, as the files have."""
    rng, gold = np.random.default_rng(seed), {}
    for name, shape in sizes.items():
        gold[f"{name}__logits"] = rng.normal(0, 2, shape).astype(np.float32)
        gold[f"{name}__targets"] = (rng.random(shape) < 0.4).astype(np.float32)
    return gold


def given(gold: Golden, group: str, *names: str) -> list[np.ndarray]:
    return [gold[f"{group}__{name}"].astype(float) for name in names]


def asl_file() -> Golden:
    gold = inputs(0, {"a": (4, 3), "other": (2, 5)})
    for group in ("a", "other"):
        z, y = given(gold, group, "logits", "targets")
        gold[f"{group}__asl_mine_g3_2_c10__loss_f64"] = np.array(plain.asl(z, y, 3, 2, 0.1))
        gold[f"{group}__asl_focal3__loss_f64"] = np.array(plain.asl(z, y, 3, 3, 0))
        through = plain.slopes(lambda z, y=y: plain.asl(z, y, 3, 2, 0.1), z)
        gold[f"{group}__aslopt_gradfocal_g3_2_c10__grad_f32"] = through.astype(np.float32)
    return gold


def hill_file() -> Golden:
    gold = inputs(1, {"s": (4, 3)})
    z, y = given(gold, "s", "logits", "targets")
    gold["s__hill_m15__loss_f64"] = np.array(plain.hill(z, y, 1.5))
    gold["s__splc_tau07_ep0__loss_f64"] = np.array(plain.splc(z, y, 0, 0.7))
    gold["s__splc_tau055_ep3__loss_f64"] = np.array(plain.splc(z, y, 3, 0.55))
    return gold


def pasl_file() -> Golden:
    gold, rng = inputs(2, {"s": (5, 4)}), np.random.default_rng(5)
    gold["s__targets"] = rng.choice([1, 0, -1], p=[0.2, 0.2, 0.6], size=(5, 4)).astype(np.float32)
    gold["s__targets_posunk"] = np.where(gold["s__targets"] == 1, 1, -1).astype(np.float32)
    gold["s__prior"] = np.array([0.5, 0.01, 0.05, 0.02], np.float32)
    z, t, only = given(gold, "s", "logits", "targets", "targets_posunk")
    none, high = np.zeros(4, bool), gold["s__prior"] > 0.1
    one, two = plain.selective(z, t, 5, none), plain.selective(z, only, 10, none)
    gold["s__negative_def__loss_f64"] = np.array(plain.pasl(z, t, (0, 1, 2), 0, np.ones_like(z)))
    gold["s__selective_k1_clip__loss_f64"] = np.array(plain.pasl(z, t, (0, 3, 4), 0.05, one))
    gold["s__posunk_selective_k2__loss_f64"] = np.array(plain.pasl(z, only, (0, 1, 4), 0, two))
    both = plain.selective(z, t, 5, high)
    gold["s__selective_prior__loss_f64"] = np.array(plain.pasl(z, t, (0, 1, 4), 0, both))
    return gold


def single_positive_file() -> Golden:
    gold = inputs(3, {"s": (4, 3)})
    gold["s__obs_single"] = gold.pop("s__targets")
    gold["s__est_logits"] = np.random.default_rng(6).normal(size=(4, 3)).astype(np.float32)
    z, y, theta = given(gold, "s", "logits", "obs_single", "est_logits")
    gold["s__wan__loss_f64"] = np.array(plain.assume_negative(z, y, 1 / 2))
    gold["s__wan__reg_f64"] = np.array(0.0)
    gold["s__an_ls__loss_f64"] = np.array(plain.assume_negative(z, np.where(y == 1, 0.9, 0.1), 1.0))
    gold["s__epr_k0.7__reg_f64"] = np.array(plain.surplus(plain.sigmoid(z), 0.7))
    gold["s__role_k31.4__loss_f64"] = np.array(plain.role(z, theta, y, 31.4))
    return gold


def vpu_file() -> Golden:
    gold = inputs(4, {"s": (6, 3)})
    z, y = given(gold, "s", "logits", "targets")
    gold["s__nus_g03_a15__loss_f64"] = np.array(plain.vpu(z, y, 0.3, 1.5))
    return gold


def db_file(classes: int) -> Golden:
    db, rng = COCO if classes == 80 else VOC, np.random.default_rng(7)
    gold = inputs(7, {"s9": (3, classes)})
    gold |= {"class_freq": rng.integers(1, 700, classes)}
    gold["neg_class_freq"] = 1142 - gold["class_freq"]
    z, y = given(gold, "s9", "logits", "targets")
    gold["s9__db_focal__elem_f32"] = plain_db_focal(z, y, gold["class_freq"], 1142, db).astype(np.float32)
    gold["init_bias"] = (-np.log(1142 / gold["class_freq"] - 1) * db.init_bias / db.neg_scale).astype(np.float32)
    return gold


FILES = {
    "asl": asl_file, "hill": hill_file, "pasl": pasl_file, "single_positive": single_positive_file, "vpu": vpu_file,
    "db_voc": lambda: db_file(20), "db_coco": lambda: db_file(80),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_files_of_other_sets_and_parameters_made_from_the_definitions(tmp_path, name):
    gold = FILES[name]()
    outputs = [key for key in gold if key.endswith(("_f32", "_f64"))] + [key for key in gold if key == "init_bias"]
    good, line = verdict(tmp_path, gold)
    assert good and f"ok {len(outputs)} arrays" in line, line
    changed = outputs[0]
    good, line = verdict(tmp_path, gold | {changed: gold[changed] * (1 + 3e-5)})
    assert not good and f"ABOVE TOLERANCE {len(outputs)} arrays, largest {changed}=3.0e-05" in line, line


def test_a_variant_that_is_not_known_is_named(tmp_path):
    good, line = verdict(tmp_path, vpu_file() | {"s__other__loss_f64": np.array(1.0)})
    assert not good and "nothing here computes its s__other__loss_f64" in line


def test_float32_arrays_may_be_as_wrong_as_their_float64_twin_shows(tmp_path):
    gold = vpu_file()
    rounded = {"s__nus_g03_a15__loss_f32": (gold["s__nus_g03_a15__loss_f64"] * (1 + 5e-5)).astype(np.float32)}
    assert verdict(tmp_path, gold | rounded)[0]
    alone = {key: value for key, value in gold.items() if not key.endswith("f64")}
    assert not verdict(tmp_path, alone | rounded)[0]


@pytest.mark.parametrize(("digits", "value"), [("065", 0.65), ("0", 0.0), ("15", 1.5), ("2", 2.0), ("0.3", 0.3)])
def test_numbers_in_names(digits, value):
    assert one_network.tenths(digits) == value


def test_db_settings_without_the_offset_follow_the_number_of_classes(tmp_path):
    for classes in (20, 80):
        gold = db_file(classes)
        del gold["init_bias"]
        assert verdict(tmp_path, gold)[0]
