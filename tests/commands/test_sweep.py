"""The sweep command: which runs it has, what it refuses before any of them, and that it resumes."""

import json
import signal
import time
from pathlib import Path

import pytest

from ltpml_jax import cli
from ltpml_jax.commands import sweep, sweep_plan
from ltpml_jax.config import default_config, fields
from ltpml_jax.errors import UserError
from ltpml_jax.workdir import claim
from tests.helpers import runs

CONFIG = f"--config={runs.ROOT}/configs/digits_mlt.py:0.3"


def parse(*words: str):
    return cli.parse("sweep", sweep.COMMAND, [CONFIG, "--out=out", *words])


def plan(*words: str, out: Path = Path("out")):
    return sweep_plan.plan(parse(*words), out)


def test_every_combination_is_a_run_with_a_readable_name():
    found = plan("--grid", "method.name=ndlp,bce", "--grid=optim.learning_rate=0.01,3e-2", "--seeds=0,7")
    names = [f"name={name},learning_rate={rate},seed={seed}"
             for name in ("ndlp", "bce") for rate in ("0.01", "0.03") for seed in (0, 7)]  # fmt: skip
    assert [run.name for run in found] == names
    last = found[-1]
    assert last.fields == {
        "method.name": "bce", "optim.learning_rate": 0.03, "seed": 7, "data.candidate_seed": 7,
    }  # fmt: skip
    assert last.words == [
        CONFIG,
        "--config.method.name=bce",
        "--config.optim.learning_rate=3e-2",
        "--config.seed=7",
        "--config.data.candidate_seed=7",
        f"--workdir=out/{names[-1]}",
    ]


def test_fields_of_the_command_reach_every_run_whatever_their_form():
    words = ["--config.train.epochs", "3", "--noconfig.ndlp.mixup_pass", "--config.ndlp.alpha=(0.1, 0.9)"]
    found = plan("--grid", "data.fold=1/2,2/2", "--config.data.validation=0", *words)
    assert [run.name.partition("-")[0] for run in found] == ["fold=1_2", "fold=2_2"]
    for run in found:
        config = cli.parse("train", sweep_plan.train.COMMAND, run.words).config
        assert (config.train.epochs, config.ndlp.mixup_pass, config.ndlp.alpha) == (3, False, (0.1, 0.9))
        assert config.data.validation == 0 and config.data.partial_rate == 0.3
        assert fields(config)["data.fold"] == run.fields["data.fold"]


def test_the_argument_of_the_config_may_be_swept():
    found = plan("--grid", "config=0.5;0.3,reference", "--seeds=1")
    assert [run.fields["config"] for run in found] == ["0.5", "0.3,reference"]
    assert found[0].name == "config=0.5,seed=1" and found[1].name.startswith("config=0.3_reference-")
    configs = [cli.parse("train", sweep_plan.train.COMMAND, run.words).config for run in found]
    assert [(one.data.partial_rate, one.data.priors) for one in configs] == [(0.5, "estimated"), (0.3, "oracle")]
    with pytest.raises(UserError, match="after the config file's colon"):
        plan("--grid", "config=0.3,1.5")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        (" a , b ", ["a", "b"]),
        ("(0.1,0.9),(0.2,0.8)", ["(0.1,0.9)", "(0.2,0.8)"]),
        ("a=1;a=1,b=2", ["a=1", "a=1,b=2"]),
        ("a=1,b=2;", ["a=1,b=2"]),
        ("(1,2);(3,4)", ["(1,2)", "(3,4)"]),
        (",x", ["", "x"]),
        ("", [""]),
    ],
)
def test_values_are_separated_as_the_rule_says(text, values):
    assert sweep_plan.split_values("--grid f", text) == values


def test_two_fields_with_one_last_part_keep_their_whole_names():
    (run, *_) = plan("--grid", "method.name=bce,ndlp", "--grid", "data.name=digits_mlt")
    assert run.name == "method.name=bce,data.name=digits_mlt"
    (run, *_) = plan("--grid", "seed=3,4")
    assert run.name == "seed=3" and run.fields == {"seed": 3}


def test_names_of_values_differ_where_the_values_do():
    texts = ["a/b", "a_b", "a b", "x" * 50, "x" * 51, "", "ü"]
    names = [sweep_plan.value_name(text) for text in texts]
    assert len(set(names)) == len(texts) and all(len(name) < 60 and "/" not in name for name in names)
    assert sweep_plan.value_name("a_b") == "a_b" and sweep_plan.value_name((0.1, 2.0)) == "0.1_2.0"


WRONG = [
    (["--grid", "optim.lr=1"], "There is no config field 'optim.lr'; did you mean 'optim."),
    (["--grid", "optim.learning_rate"], "--grid is 'optim.learning_rate'; write --grid FIELD=VALUE,VALUE,...: values"),
    (["--grid", "optim.learning_rate=0.1,-1"], "config.optim.learning_rate is -1.0; it must be a number above 0"),
    (["--grid", "train.epochs=1,ten"], "--config.train.epochs is 'ten'; it must be an integer."),
    (["--grid", "train.epochs=1,"], "--config.train.epochs is ''; it must be an integer."),
    (["--grid", "method.name=bce,nldp"], r"config.method.name is 'nldp'; it must be one of .*\(nearest: ndlp\)"),
    (["--grid", "ndlp.mixup_block=0,5"], "ndlp.mixup_block is 5; it must be 0 or a divisor"),
    (["--grid", "train.epochs=1,1"], "--grid train.epochs names '1' twice; name each value once"),
    (["--grid", "optim.learning_rate=0.1,0.10"], "has the run 'learning_rate=0.1' twice; give each value"),
    (["--grid", "seed=1", "--grid", "seed=2"], "--grid names the field 'seed' twice; give all its values in one"),
    (["--grid", "seed=1,2", "--seeds=0,1"], "--seeds sets seed, and so does --grid; leave one of the two out."),
    (
        ["--seeds=0,1", "--config.data.candidate_seed=3"],
        "sets data.candidate_seed, and so does --config.data.candidate",
    ),
    (["--seeds=0,-1"], "config.seed is -1; it must be a number in"),
    (["--seeds=0,x"], "--config.seed is 'x'; it must be an integer."),
    (
        ["--grid", "optim.multipliers=backbone=abc;neck=1"],
        "config.optim.multipliers has 'backbone=abc'; write PATH=FACTOR",
    ),
    (["--grid", "optim.drop_every=head=2;neck=1"], "drop_every is 'head=2', but config.optim.schedule=constant does"),
    (
        ["--grid", "ndlp.gamma=1,2", "--config.method.name=bce"],
        "varies ndlp.gamma, which config.method.name=bce does not",
    ),
    (["--grid", "data.missing_rate=0,0.4"], "missing_rate is 0.4, but config.data.noise=partial does not use it"),
    (["--grid", "data.fold=1/3"], "config.data.fold is '1/3' and config.data.validation 0.1; set one"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG)
def test_what_cannot_be_is_one_sentence_before_any_run(words, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        plan(*words)
    assert "\n" not in str(caught.value)


def test_flags_that_make_no_sweep_are_named():
    with pytest.raises(UserError, match="^Give --grid or --seeds, or both; for a single run, `ltpml train`.$"):
        parse()
    with pytest.raises(UserError, match="^--config and --out are missing"):
        cli.parse("sweep", sweep.COMMAND, ["--seeds=0"])
    with pytest.raises(UserError, match=r"^--jobs is '0'; it must be a positive integer\.$"):
        parse("--seeds=0", "--jobs=0")


def test_a_folder_of_another_config_is_refused_before_any_run(tmp_path):
    config = default_config()
    config.data.name = "other"
    (tmp_path / "seed=1").mkdir()
    claim(config, tmp_path / "seed=1")
    with pytest.raises(UserError, match=r"seed=1 belongs to a run of another config \(data.*; give another --out"):
        plan("--seeds=0,1", out=tmp_path)


def test_print_lists_what_is_left_and_runs_nothing(tmp_path, capsys):
    (tmp_path / "seed=0").mkdir()
    for name in ("results.json", "predictions-test.npz"):
        (tmp_path / "seed=0" / name).touch()
    values = cli.parse("sweep", sweep.COMMAND, [CONFIG, f"--out={tmp_path}", "--seeds=0,1", "--print"])
    sweep.COMMAND.run(values)
    words = f"--config.seed=1 --config.data.candidate_seed=1 --workdir={tmp_path}/seed=1"
    assert capsys.readouterr().out == f"python -m ltpml_jax.main {CONFIG} {words}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["seed=0"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2, "runs": []}', '{"format": 1, "runs": [3]}'])
def test_a_list_that_is_none_is_named(tmp_path, text):
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(UserError, match="sweep.json is no list of a sweep's runs; remove it, or give another --out"):
        sweep.earlier(tmp_path)


@pytest.mark.processes
def test_a_sweep_is_stopped_resumed_and_names_what_failed(tmp_path):
    """Of two runs one cannot work; the first is stopped on its way."""
    changes = {"method__name": "bce", "train__epochs": 1, "train__checkpoint_every": 2, "data__validation": 0.0}
    words = [f"--config.{name}={value}" for name, value in runs.overrides(**changes).items()]
    command = [*runs.python("sweep"), CONFIG, "--grid", "model.pretrained=digits_small,gone.pth", "--seeds=0"]
    command += [f"--out={tmp_path}", *words]
    refused = "exit status 2: error: cannot read the weights"
    good, bad = (tmp_path / f"pretrained={name},seed=0" for name in ("digits_small", "gone.pth"))
    process = runs.start(command)
    deadline = time.monotonic() + 300
    while not (good / "checkpoints" / "2").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 143, err
    assert f"{good.name}: stopped; it is saved" in out and "SIGTERM stopped the sweep; the same" in out
    states = {one["name"]: one["state"] for one in json.loads((tmp_path / "sweep.json").read_text())["runs"]}
    assert set(states.values()) == {"unfinished"} and not bad.exists() and not (good / "results.json").exists()
    done = runs.call(command)
    assert done.returncode == 1, done.stderr
    assert "Resuming from step" in (good / "output.log").read_text() and (good / "results.json").exists()
    (failed,) = [line for line in done.stdout.splitlines() if line.startswith("FAILED: ")]
    assert f"gone.pth,seed=0, {refused}" in failed and f"(all of it: {bad}/output.log)" in failed
    assert "mAP on 1000 test images" in done.stdout and "bce" in done.stdout
    listed = {one["name"]: one for one in json.loads((tmp_path / "sweep.json").read_text())["runs"]}
    assert listed[good.name]["state"] == "finished" and listed[bad.name]["why"].startswith(refused)
    before = (good / "output.log").read_bytes()
    done = runs.call(command)
    assert done.returncode == 1 and "2 runs in" in done.stdout and "of which 1 are finished" in done.stdout
    assert (good / "output.log").read_bytes() == before
