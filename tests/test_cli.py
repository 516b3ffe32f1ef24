"""The command lines: wrong ones end in one sentence and status 2, evaluation prints what training printed."""

import re
import resource
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from absl import flags

from ltpml_jax import cli, trainer
from ltpml_jax.__main__ import main
from ltpml_jax.commands import audit, evaluate, prepare
from ltpml_jax.commands import train as train_command
from ltpml_jax.commands.command_line import COMMANDS
from ltpml_jax.config import validate
from ltpml_jax.data import datasets, digits_mlt
from ltpml_jax.errors import UserError
from ltpml_jax.runtime import checksums
from tests.helpers import runs, tiny

CONFIG = f"--config={runs.ROOT}/configs/digits_mlt.py:0.3"


def parse(*words: str):
    """The flags of `ltpml train`."""
    return cli.parse("train", train_command.COMMAND, list(words))


def test_overrides_reach_the_config():
    got = parse(CONFIG, "--workdir=x", "--config.data.batch_size=8", "--config.ndlp.alpha=(0.1,0.9)")
    assert got.workdir == "x"
    assert (got.config.data.batch_size, got.config.ndlp.alpha, got.config.data.partial_rate) == (8, (0.1, 0.9), 0.3)
    validate(got.config)


def test_the_config_may_stand_after_a_space_and_after_its_fields():
    got = parse("--config.seed", "3", "--workdir", "x", "--config", f"{runs.ROOT}/configs/digits_mlt.py:0.5")
    assert (got.config.data.partial_rate, got.config.seed, got.workdir) == (0.5, 3, "x")


def test_a_switch_may_be_set_by_its_name_alone():
    got = parse(CONFIG, "--workdir=x", "--noconfig.ndlp.mixup_pass", "--config.train.one_jit")
    assert (got.config.ndlp.mixup_pass, got.config.train.one_jit) == (False, True)


def test_two_starts_in_one_process_do_not_share_flags():
    parse(CONFIG, "--workdir=x", "--config.seed=3", "--multihost")
    got = parse(CONFIG, "--workdir=y")
    assert (got.config.seed, got.workdir, got.multihost) == (0, "y", False)


def test_a_home_is_meant_after_an_equals_sign_too(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert parse(CONFIG, "--workdir=~/run").workdir == "/home/me/run"
    got = cli.parse("audit", audit.COMMAND, ["--workdir=~/a,b", "--out=~/c"])
    assert (got.workdir, got.out) == (["/home/me/a", "b"], "/home/me/c")
    assert cli.parse("prepare", prepare.COMMAND, ["--dataset=a", "--csv=b"]).out == "~/tensorflow_datasets"


def test_dashes_in_a_name_are_underscores_and_stay_in_its_value():
    got = cli.parse("prepare", prepare.COMMAND, ["--dataset=a-b", "--skip-bad", "--csv=x-y", "--test-share=0.5"])
    assert (got.skip_bad, got.csv, got.dataset, got.test_share) == (True, "x-y", "a-b", 0.5)


WRONG = {
    "--config.data.batchsize=1": "There is no config field 'data.batchsize'; did you mean 'data.batch_size'?",
    "--config.dataa.x=1": "no config field 'dataa.x'; did you mean 'data.",
    "--config.data=1": "no config field 'data'",
    "--noconfig.data.flop": "no config field 'data.flop'; did you mean 'data.flip'?",
    "--config.train.epochs=1.5": "--config.train.epochs is '1.5'; it must be an integer.",
    "--config.train.epochs=ten": "--config.train.epochs is 'ten'; it must be an integer.",
    "--config.optim.learning_rate=": "--config.optim.learning_rate is ''; it must be a number.",
    "--config.ndlp.mixup_pass=maybe": "--config.ndlp.mixup_pass is 'maybe'; it must be True or False.",
    "--config.ndlp.alpha=(1,": "--config.ndlp.alpha is '(1,'; it must be numbers in parentheses, as (0.5,2.0).",
    "--config.data.batch_size": "Missing value for flag --config.data.batch_size; write --FLAG=VALUE.",
    "--wordkir=x": "There is no flag --wordkir; did you mean --workdir?",
    "--batch_size=3": "There is no flag --batch_size; did you mean --config.data.batch_size?",
    "--seed=3": "There is no flag --seed; did you mean --config.seed?",
    "--method=cls": "There is no flag --method; did you mean --config.method.name?",
    "--config.lr=1": "There is no config field 'lr'; did you mean 'optim.learning_rate'?",
    "--preflight=maybe": "--preflight is 'maybe'; it must be True or False.",
    "more": "The argument 'more' belongs to no flag; write --FLAG=VALUE.",
}


@pytest.mark.parametrize("argument", WRONG)
def test_a_wrong_argument_is_named(argument):
    with pytest.raises(UserError) as caught:
        parse(CONFIG, "--workdir=x", argument)
    assert WRONG[argument] in str(caught.value) and "\n" not in str(caught.value)


def test_a_choice_and_a_bound_are_named():
    with pytest.raises(
        UserError, match=r"^--difficult is 'unknwon'; choose one of negative, .* \(nearest: unknown\)\.$"
    ):
        cli.parse("prepare", prepare.COMMAND, ["--difficult=unknwon"])
    with pytest.raises(UserError, match=r"^--jobs is '0'; it must be a positive integer\.$"):
        cli.parse("prepare", prepare.COMMAND, ["--jobs=0"])


@pytest.mark.parametrize("rate", ["x", "1.0", "-0.1", "1.5"])
@pytest.mark.parametrize("form", ["--config={}", "--config {}"])
def test_a_wrong_partial_rate_is_named(rate, form):
    with pytest.raises(
        UserError,
        match=rf"^The words .* are '{rate}'; give a number in \[0, 1\) .*, and .*\.$",
    ):
        parse(*form.format(f"{runs.ROOT}/configs/digits_mlt.py:{rate}").split(), "--workdir=x")


@pytest.mark.parametrize(
    "arguments,message",
    [
        ([], "^--config and --workdir are missing; see `ltpml train --help`.$"),
        (["--workdir=x"], "^--config is missing;"),
        (["--workdir=x", "--config.seed=1"], "^--config is missing;"),
        ([CONFIG], "^--workdir is missing;"),
        (["--config=nowhere.py", "--workdir=x"], "nowhere.py cannot be read .*; give the path"),
        (["--config=nowhere.py", "--config.data.batch_size=3"], "nowhere.py cannot be read"),
        (["--config=", "--workdir=x"], "^--config is missing;"),
        (["--config"], "^--config and --workdir are missing"),
        ([CONFIG, "--workdir=gs://bucket/run"], "^--workdir=gs://bucket/run is a URL; mount it"),
    ],
)
def test_what_is_missing_is_named(arguments, message):
    with pytest.raises(UserError, match=message):
        parse(*arguments)


def ltpml(*words: str) -> subprocess.CompletedProcess[str]:
    return runs.call([sys.executable, "-m", "ltpml_jax", *words])


@pytest.mark.processes
def test_help_names_all_commands():
    done = ltpml("--help")
    assert (done.returncode, done.stderr) == (0, "")
    listed = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith("  ")}
    assert list(listed) == list(COMMANDS)
    assert all(command.summary in listed[name] for name, command in COMMANDS.items())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_shows_its_own_flags_and_no_other(name, capsys):
    cli.start(name, COMMANDS[name], ["--help"])
    text = capsys.readouterr().out
    values = flags.FlagValues()
    COMMANDS[name].define(values)
    assert re.findall(r"^  --(\w+)", text, re.MULTILINE) == list(values)
    first = " ".join(text.partition("\n\n")[0].split())
    required = "".join(f" --{flag}=..." for flag in COMMANDS[name].required if flag != COMMANDS[name].words)
    words = f" {COMMANDS[name].words.upper()}..." if COMMANDS[name].words else ""
    assert first == f"usage: ltpml {name}{required}{words} [--FLAG=VALUE ...]"
    assert COMMANDS[name].summary in " ".join(text.split())


@pytest.mark.processes
def test_the_help_of_train_says_how_fields_are_set_and_where_they_stand():
    done = runs.call([*runs.python("main"), "--help"])
    assert (done.returncode, done.stderr) == (0, "")
    assert "set by --config.FIELD=VALUE; docs/config.md lists" in " ".join(done.stdout.split())
    assert done.stdout == ltpml("train", "-h").stdout


@pytest.mark.processes
@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["evaluate", "--workdri=x"], ["corrupt"]])
def test_help_and_wrong_flags_answer_at_once(words):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ltpml(*words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2  # seconds of a processor


@pytest.mark.processes
def test_a_wrong_command_is_named():
    assert runs.sentence(ltpml("trian")) == "There is no command 'trian'; did you mean 'train'?"
    for words in ([], ["--config=x.py"]):
        assert "with one of train, evaluate, predict" in runs.sentence(ltpml(*words))


def test_the_console_script_is_the_module():
    name = tomllib.loads((runs.ROOT / "pyproject.toml").read_text())["project"]["scripts"]["ltpml"]
    assert EntryPoint("ltpml", name, "console_scripts").load() is main


def test_datasets_lie_where_the_configs_look_for_them():
    assert parse(CONFIG, "--workdir=x").config.data.dir == cli.DATA_DIR


@pytest.fixture(scope="module")
def refused(tmp_path_factory) -> Path:
    """A folder of the run of another config."""
    return runs.copy_of_finished(tmp_path_factory.mktemp("refused"))


@pytest.mark.processes
def test_a_wrong_command_ends_with_status_2_and_one_sentence(refused, tmp_path):
    """Real processes, all at the same time."""
    (tmp_path / "file").write_text("")
    main, evaluate = runs.python("main"), runs.python("evaluate")
    commands = {
        "--config and --workdir are missing": main,
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


@pytest.mark.processes
def test_evaluation_on_one_device_prints_what_eight_devices_printed(capsys):
    done = runs.call([*runs.python("evaluate"), f"--workdir={runs.finished()}"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == table(capsys, runs.finished())
    assert "last (epoch 2)" in done.stdout and "mAP Total" in done.stdout


def broken_rate(workdir: Path) -> None:
    """Make a run's own learning rate one that breaks it, as if it had been so from the beginning."""
    for path in [workdir / "config.json", *workdir.glob("checkpoints/*/identity/metadata")]:
        text = path.read_text()
        changed = re.sub(r'(learning_rate\\*": )0\.02\b', r"\g<1>1e+30", text)  # its quotes are escaped in metadata
        assert changed != text
        path.write_text(changed)
        if path.name == "metadata":
            checksums.seal(path.parents[1])


@pytest.mark.processes
def test_what_was_saved_before_the_loss_broke_still_opens(tmp_path, capsys):
    workdir = Path(shutil.copytree(runs.eight_devices(), tmp_path / "copy"))
    for step in ("16", "18"):
        shutil.rmtree(workdir / "checkpoints" / step)
    broken_rate(workdir)
    saved = sorted((workdir / "checkpoints").iterdir())
    sentence = "Step 11 is the last of 1 in a row .*Lower config.optim.learning_rate"
    with pytest.raises(UserError, match=sentence):
        runs.tiny_run(workdir, optim__learning_rate=1e30, train__max_skipped=1)
    assert sorted((workdir / "checkpoints").iterdir()) == saved
    with tiny.everywhere():
        evaluate.COMMAND.run(cli.parse("evaluate", evaluate.COMMAND, [f"--workdir={workdir}"]))
    assert "last (epoch 1)" in capsys.readouterr().out


@pytest.mark.processes
def test_a_damaged_checkpoint_is_one_sentence(tmp_path):
    workdir = runs.copy_of_finished(tmp_path)
    for path in (workdir / "checkpoints" / "18" / "state").rglob("d/*"):
        raw = path.read_bytes()
        path.write_bytes(raw[: len(raw) // 2])
    done = runs.call([*runs.python("evaluate"), f"--workdir={workdir}"])
    assert "checkpoints/18 cannot be read" in runs.sentence(done)
    assert done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def torn_image(tmp_path_factory) -> Path:
    """A prepared dataset in which one training image ends early; its files are whole."""
    folder, encode = tmp_path_factory.mktemp("torn"), digits_mlt.encode_png
    count = 0

    def tearing(image):
        nonlocal count
        count += 1
        return encode(image)[: 60 if count == 701 else None]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits_mlt, "encode_png", tearing)
        datasets.load("digits_mlt", str(folder))
    return folder


@pytest.mark.processes
def test_a_corrupt_training_image_is_one_sentence(torn_image, tmp_path):
    """Also where a worker process reads it."""
    changes = {"data__dir": str(torn_image), "method__name": "bce"}
    with pytest.raises(UserError, match="image 'train-00700'.*prepare the dataset again"):
        runs.tiny_run(tmp_path / "threads", **changes)
    done = runs.call(runs.tiny_command(tmp_path / "workers", data__workers=1, **changes))
    assert "image 'train-00700'" in runs.sentence(done) and "prepare the dataset again" in done.stderr
