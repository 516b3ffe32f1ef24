"""The command lines: wrong ones end in one sentence and status 2, evaluation prints what training printed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from ml_collections import config_flags

from ltpml_jax import cli, trainer
from ltpml_jax.config import validate
from ltpml_jax.data import datasets, digits_mlt
from ltpml_jax.errors import UserError
from ltpml_jax.runtime import checksums
from tests import runs

CONFIG = f"--config={runs.ROOT}/configs/digits_mlt.py:0.3"


@pytest.fixture
def parse(monkeypatch):
    """cli.parse on the flags of main, which are made anew: absl keeps them for the whole process."""
    fresh = flags.FlagValues()

    def run(*arguments: str) -> flags.FlagValues:
        monkeypatch.setattr(flags, "FLAGS", fresh)
        monkeypatch.setattr(sys, "argv", ["main", *arguments])  # where config_flags looks for overrides
        config_flags.DEFINE_config_file("config", flag_values=fresh)
        flags.DEFINE_string("workdir", None, "", flag_values=fresh)
        cli.parse(sys.argv, ("config", "workdir"))
        return fresh

    return run


def test_overrides_reach_the_config(parse):
    got = parse(CONFIG, "--workdir=x", "--config.data.batch_size=8", "--config.ndlp.alpha=(0.1,0.9)")
    assert got["workdir"].value == "x"
    config = got["config"].value
    assert (config.data.batch_size, config.ndlp.alpha, config.data.partial_rate) == (8, (0.1, 0.9), 0.3)
    validate(config)


def test_the_config_may_stand_after_a_space(parse):
    got = parse("--config", f"{runs.ROOT}/configs/digits_mlt.py:0.5", "--workdir", "x")
    assert got["config"].value.data.partial_rate == 0.5


WRONG = {
    "--config.data.batchsize=1": "no config field 'data.batchsize'; did you mean 'data.batch_size'",
    "--config.dataa.x=1": "no config field 'dataa.x'; did you mean 'data.",
    "--config.data=1": "no config field 'data'",
    "--config.train.epochs=1.5": "--config.train.epochs=1.5",
    "--config.train.epochs=ten": "--config.train.epochs=ten",
    "--config.optim.learning_rate=": "--config.optim.learning_rate=",
    "--config.data.batch_size": "Missing value for flag --config.data.batch_size",
    "--wordkir=x": "Unknown command line flag 'wordkir'",
    "--batch_size=3": "Unknown command line flag 'batch_size'",
    "more": "'more' belongs to no flag",
}


@pytest.mark.parametrize("argument", WRONG)
def test_a_wrong_argument_is_named(parse, argument):
    with pytest.raises(UserError) as caught:
        parse(CONFIG, "--workdir=x", argument)
    assert WRONG[argument] in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("rate", ["x", "1.0", "-0.1", "1.5"])
@pytest.mark.parametrize("form", ["--config={}", "--config {}"])
def test_a_wrong_partial_rate_is_named(parse, rate, form):
    with pytest.raises(UserError, match=rf"^The partial rate .* is '{rate}'; give a number in \[0, 1\)\.$"):
        parse(*form.format(f"{runs.ROOT}/configs/digits_mlt.py:{rate}").split(), "--workdir=x")


@pytest.mark.parametrize(
    "arguments,message",
    [
        ([], "--config is missing"),
        (["--workdir=x"], "--config is missing"),
        ([CONFIG], "--workdir is missing"),
        (["--config=nowhere.py", "--workdir=x"], "cannot be read .*nowhere.py.*; give the path"),
        (["--config=nowhere.py", "--config.data.batch_size=3"], "cannot be read .*nowhere.py"),
        (["--config=", "--workdir=x"], "cannot be read .*empty"),
        (["--config"], "cannot be read .*empty"),
        ([f"--config={runs.ROOT}/configs/default.py:3", "--workdir=x"], "default.py:3.*takes 0 positional arguments"),
    ],
)
def test_what_is_missing_is_named(parse, arguments, message):
    with pytest.raises(UserError, match=message):
        parse(*arguments)


@pytest.mark.parametrize("text", ["x = (", "import nowhere", "def get_config():\n    raise ValueError('why')", ""])
def test_a_config_file_that_fails_is_one_sentence(parse, tmp_path, text):
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(UserError) as caught:
        parse(f"--config={tmp_path}/own.py", "--workdir=x")
    assert "\n" not in str(caught.value) and len(str(caught.value)) > 10


@pytest.fixture(scope="module")
def refused(tmp_path_factory) -> Path:
    """A folder of the run of another config."""
    return runs.copy_of_finished(tmp_path_factory.mktemp("refused"))


def test_a_wrong_command_ends_with_status_2_and_one_sentence(refused, tmp_path):
    """Real processes, all at the same time."""
    (tmp_path / "file").write_text("")
    main, evaluate = runs.python("main"), runs.python("evaluate")
    commands = {
        "--config is missing": main,
        "did you mean 'data.batch_size'": [*main, CONFIG, f"--workdir={tmp_path}/x", "--config.data.batchsize=3"],
        "cannot be written (Not a directory)": runs.command(tmp_path / "file" / "below"),
        "data.validation was 0.1, now 0.2": runs.command(refused, data__validation=0.2),
        f"There is no run in {tmp_path}": [*evaluate, f"--workdir={tmp_path}"],
    }
    started = {message: runs.start(command) for message, command in commands.items()}
    for message, process in started.items():
        output, errors = process.communicate(timeout=120)
        done = subprocess.CompletedProcess(process.args, process.returncode, output, errors)
        assert message in runs.sentence(done)
        assert output == "" and errors.count("\n") == 1
    assert not (tmp_path / "x").exists()


def table(capsys, workdir: Path) -> str:
    """What the training run printed at its end: it prints it again."""
    capsys.readouterr()
    trainer.train(runs.config(train__checkpoint_every=4), workdir)
    return capsys.readouterr().out


def test_evaluation_on_one_device_prints_what_eight_devices_printed(capsys):
    done = runs.call([*runs.python("evaluate"), f"--workdir={runs.finished()}"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == table(capsys, runs.finished())
    assert "last (epoch 2)" in done.stdout and "mAP Total" in done.stdout


def broken_rate(workdir: Path) -> None:
    """Make a run's own learning rate one that breaks it, as if it had been so from the beginning."""
    for path in [workdir / "config.json", *workdir.glob("checkpoints/*/facts/metadata")]:
        text = path.read_text()
        assert text.count(": 0.02") == 1
        path.write_text(text.replace(": 0.02", ": 1e+30"))
        if path.name == "metadata":
            checksums.seal(path.parents[1])


def test_what_was_saved_before_the_loss_broke_still_opens(tmp_path):
    workdir = runs.copy_of_finished(tmp_path)
    shutil.rmtree(workdir / "checkpoints" / "18")
    broken_rate(workdir)
    saved = sorted((workdir / "checkpoints").iterdir())
    sentence = runs.sentence(runs.call(runs.command(workdir, optim__learning_rate=1e30, train__max_skipped=1)))
    assert "Step 18 is the last of 1 in a row" in sentence and "Lower config.optim.learning_rate" in sentence
    assert sorted((workdir / "checkpoints").iterdir()) == saved
    done = runs.call([*runs.python("evaluate"), f"--workdir={workdir}"])
    assert (done.returncode, done.stderr) == (0, "")
    assert "last (epoch 1.77778)" in done.stdout


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_a_damaged_checkpoint_is_one_sentence(damage, tmp_path):
    workdir = runs.copy_of_finished(tmp_path)
    for path in (workdir / "checkpoints" / "18" / "state").rglob("d/*"):
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 0xFF
        path.write_bytes(raw[: len(raw) // 2] if damage == "truncate" else raw)
    done = runs.call([*runs.python("evaluate"), f"--workdir={workdir}"])
    assert "checkpoints/18 cannot be read" in runs.sentence(done)
    assert done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def torn_image() -> Path:
    """A prepared dataset in which one training image ends early; its files are whole."""
    folder, encode = runs.scratch() / "torn", digits_mlt.encode_png
    count = 0

    def tearing(image):
        nonlocal count
        count += 1
        return encode(image)[: 60 if count == 701 else None]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits_mlt, "encode_png", tearing)
        datasets.load("digits_mlt", str(folder))
    return folder


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_training_image_is_one_sentence(torn_image, workers, tmp_path):
    changes = {"data__dir": torn_image, "data__workers": workers, "method__name": "bce"}
    done = runs.call(runs.command(tmp_path, **changes))
    assert "image 'train-00700'" in runs.sentence(done) and "prepare the dataset again" in done.stderr


def test_help_tells_the_flags():
    done = subprocess.run([*runs.python("main"), "--help"], cwd=runs.ROOT, capture_output=True, text=True, check=False)
    assert "--workdir" in done.stdout and "Traceback" not in done.stderr
