import shutil

from ltpml_jax.data import corruption, manifest, source
from ltpml_jax.data.labels import LabelState
from tests import runs


def corrupt(*flags: str, **more: object):
    given = {"dataset": "digits_mlt", "data_dir": runs.data_dir(), **more}
    return runs.call([*runs.python("corrupt"), *(f"--{name}={value}" for name, value in given.items()), *flags])


def test_the_command_makes_what_the_functions_make(tmp_path):
    labels = source.load("digits_mlt", str(runs.data_dir())).train.labels
    out = tmp_path / "some.npz"
    done = corrupt(kind="missing", rate=0.4, seed=3, keep_one=True, out=out)
    assert done.returncode == 0, done.stderr
    found = manifest.load(out)
    assert (found.table == corruption.missing(labels, 0.4, 3, keep_one=True)).all()
    assert found.facts == {
        "kind": "missing",
        "parameters": {"rate": 0.4, "keep_one": True},
        "seed": 3,
        "dataset": "digits_mlt",
        "source": manifest.digest(labels),
    }
    manifest.check(found, labels, "digits_mlt")
    lines = done.stdout.splitlines()
    assert f"sha256 {found.digest}" in lines and lines[-1] == f"use it with --config.data.candidates={out}"
    dropped = (found.table == LabelState.UNKNOWN)[labels == 1].mean()
    assert f"of the positives became unknown: {dropped:.4f}" in lines


def test_a_mistake_is_one_sentence(tmp_path):
    shutil.copy(__file__, tmp_path / "some.npy")
    sentence = runs.sentence(corrupt(import_npy=tmp_path / "some.npy", out=tmp_path / "some.npz"))
    assert "some.npy is no sound .npy file" in sentence
