"""A work directory keeps its run's config, and is refused to another one."""

import json
from pathlib import Path

import pytest
from ml_collections import ConfigDict

import ltpml_jax
from configs import digits_mlt
from ltpml_jax.config import default_config, fields, settings, validate
from ltpml_jax.errors import UserError
from ltpml_jax.workdir import as_path, check_workdir, claim, differences, join_names, saved_config


def test_a_config_comes_back_from_its_folder(tmp_path):
    config = digits_mlt.get_config("0.25")
    claim(config, tmp_path)
    assert differences(saved_config(tmp_path), config) == []
    assert saved_config(tmp_path).data.partial_rate == 0.25
    validate(saved_config(tmp_path))
    check_workdir(config, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_name_that_checkpoints_cannot_have_is_refused_at_once(tmp_path):
    with pytest.raises(
        UserError, match=r"^The work directory '.*/b\\udcff' has a name that is not UTF-8; give another"
    ):
        check_workdir(default_config(), tmp_path / "b\udcff")
    assert not list(tmp_path.iterdir())
    (tmp_path / "link").symlink_to(tmp_path / "a[1]")
    for place in (tmp_path / "a[1]" / "run", tmp_path / "link" / "run", tmp_path / "b*"):
        with pytest.raises(
            UserError, match=r"^The work directory /.* has a '[\[*]' in its path; give another --workdir"
        ):
            check_workdir(default_config(), place)
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


@pytest.mark.parametrize("given", ["", None, 3, "gs://bucket/run", Path("gs://bucket/run")])
def test_what_is_no_path_is_no_work_directory(given):
    for opens in (lambda: ltpml_jax.train(default_config(), given), lambda: ltpml_jax.open_run(given)):
        with pytest.raises(UserError, match="^The work directory is .*; give the path of a folder"):
            opens()


def test_a_work_directory_may_be_named_from_the_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert as_path("~/runs/a") == Path("/home/someone/runs/a") and as_path(Path("runs")) == Path("runs")


def test_claiming_again_changes_nothing(tmp_path):
    claim(digits_mlt.get_config("0.25"), tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    claim(digits_mlt.get_config("0.5"), tmp_path)
    assert (tmp_path / "config.json").read_bytes() == before


def test_a_folder_of_another_config_is_refused_with_what_differs(tmp_path):
    config = digits_mlt.get_config("0.25")
    claim(config, tmp_path)
    config.data.partial_rate = 0.5
    config.ndlp.alpha = (0.1, 0.2)
    with pytest.raises(UserError) as caught:
        check_workdir(config, tmp_path)
    for part in (str(tmp_path), "partial_rate was 0.25, now 0.5", "ndlp.alpha was [0.4, 0.8], now [0.1, 0.2]"):
        assert part in str(caught.value)


def test_what_the_result_does_not_depend_on_may_change(tmp_path):
    config = digits_mlt.get_config()
    claim(config, tmp_path)
    config.data.dir, config.data.workers, config.data.threads = "elsewhere", 3, 5
    config.train.devices, config.train.checkpoint_every, config.eval.batch_size = 2, 7, 64
    config.train.max_skipped, config.train.start_limit, config.train.step_limit = 1, 0.0, 5.0
    config.data.unreadable = "skip"
    check_workdir(config, tmp_path)
    changed = {name for name, value in fields(config).items() if value != fields(digits_mlt.get_config())[name]}
    assert changed == {name for name, setting in settings().items() if setting.free}


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for workdir in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=f"{workdir} cannot be written .*; give another --workdir"):
            check_workdir(default_config(), workdir)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"text"', "null", "\x00\x00", "[" * 100_000])
def test_a_damaged_config_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match="config.json is not the JSON of a config; restore it"):
        saved_config(tmp_path)
    with pytest.raises(UserError, match="config.json is not"):
        check_workdir(default_config(), tmp_path)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(UserError, match=f"no run in {tmp_path}"):
        saved_config(tmp_path)


def test_fields_that_only_one_side_has_are_differences():
    old, new = ConfigDict({"a": 1, "b": {"c": 2}}), ConfigDict({"a": 1, "b": {"d": 3}})
    assert differences(old, new) == ["b.c was 2, now absent", "b.d was absent, now 3"]


def test_a_config_of_an_earlier_version_is_completed(tmp_path):
    """Whole sections and single fields; what it has stays."""
    record = json.loads(digits_mlt.get_config("0.25").to_json())
    del record["db"], record["data"]["fold"]
    record["jitter"]["hue"] = 3.0
    (tmp_path / "config.json").write_text(json.dumps(record))
    config = digits_mlt.get_config("0.25")
    config.jitter.hue = 3.0
    assert differences(saved_config(tmp_path), config) == []
    validate(saved_config(tmp_path))


def test_a_directory_with_commas_in_its_name_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("plain", "rate=0.1,seed=0", "a,b,c"):
        (tmp_path / name).mkdir()
    given = "plain,rate=0.1,seed=0,gone,a,b,c,also,gone"
    assert join_names(given.split(",")) == ["plain", "rate=0.1,seed=0", "gone", "a,b,c", "also", "gone"]
    assert join_names([]) == [] and join_names(["plain", "rate=0.1,seed=0"]) == ["plain", "rate=0.1,seed=0"]


def test_a_config_that_finds_no_room_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="gone/config.json cannot be written .No such file or directory.; make room"):
        claim(digits_mlt.get_config("0.25"), tmp_path / "gone")
