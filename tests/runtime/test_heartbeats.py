"""What heartbeats say of who is silent, ended or behind."""

from ltpml_jax.runtime import heartbeats
from ltpml_jax.runtime.heartbeats import Heartbeat


def one(number: int, beats: int = 5, seconds: float = 61.0, end: str = "") -> Heartbeat:
    return Heartbeat(f"process {number} (host{number})", beats, f"step {beats}", seconds, end)


def blame(first: dict[int, Heartbeat], later: dict[int, Heartbeat], count: int = 3) -> tuple[str, bool]:
    """As process 0 sees it, which has five beats."""
    return heartbeats.blame(0, count, {0: one(0), **first}, {0: one(0), **later})


def test_who_wrote_again_and_has_as_many_beats_is_not_to_blame():
    assert blame({1: one(1), 2: one(2)}, {1: one(1, seconds=62), 2: one(2, seconds=62)}) == ("", False)


def test_who_has_not_come_is_named():
    assert blame({}, {2: one(2)}) == ("process 1 has sent no heartbeat (not started, or another --workdir)", True)


def test_the_silent_and_the_ended_come_first_then_the_failed_then_who_is_behind_then_who_gave_up():
    silent = "process 1 (host1) is silent, last seen at 'step 5'"
    behind, gave_up = one(2, beats=4), one(2, end="gave up")
    ended, failed = one(2, end="ended with 'no space'"), one(2, end="failed with 'peer closed'")
    still, alive = {1: one(1)}, {1: one(1, seconds=62)}
    assert blame(still, still | {2: behind}) == (silent, True)
    assert blame(still, still | {2: ended}) == (f"{silent}; process 2 (host2) ended with 'no space'", True)
    assert blame(still, still | {2: failed}) == (silent, True)  # its error may have come of the silence
    assert blame(still, alive | {2: failed}) == ("process 2 (host2) failed with 'peer closed'", True)
    one_back = "process 2 (host2) is at 'step 4' for 61 s, the others at 'step 5'"
    assert blame(still, alive | {2: behind}) == (one_back, False)
    assert blame(still, alive | {2: one(2, beats=4, end="gave up")}) == (one_back, False)
    assert blame({2: gave_up} | still, alive | {2: gave_up}) == ("process 2 (host2) gave up", False)


def test_a_process_may_find_itself_behind():
    found, certain = blame({}, {1: one(1, beats=7), 2: one(2, beats=7)})
    assert found == "process 0 (host0) is at 'step 5' for 61 s, the others at 'step 7'" and not certain


def test_several_that_are_behind_are_named_with_where_most_others_are():
    found, _ = blame({}, {1: one(1, seconds=3), 2: one(2, beats=9), 3: one(3, beats=9), 4: one(4, beats=8)}, count=5)
    assert found == (
        "process 0 (host0) is at 'step 5' for 61 s; process 1 (host1) is at 'step 5' for 3 s, the others at 'step 9'"
    )


def test_of_many_a_few_are_named():
    found, _ = blame({}, {}, count=100)
    assert found.count("process ") == 4 and found.endswith("; and 95 more")


def test_broken_files_are_no_heartbeats(tmp_path):
    for name, text in {"1": "[]", "2": '["x", 1', "3": "[1]", "4": '{"number": 4}', "note": "[]"}.items():
        (tmp_path / f"{name}.json").write_text(text)
    (tmp_path / "5.json").write_text('["process 5", 3, "step 3", 1.5, ""]')
    (tmp_path / "6.json").mkdir()
    assert heartbeats.read(tmp_path) == {5: Heartbeat("process 5", 3, "step 3", 1.5)}
    assert heartbeats.read(tmp_path / "absent") == {}


def test_silence_is_measured_by_how_often_a_process_wrote_before():
    silence, mine = heartbeats.Silence(0), Heartbeat("process 0", 1, "import", 0.0)
    beat = lambda seconds: Heartbeat("process 1", 1, "import", seconds)  # noqa: E731
    assert not any(silence.lost(at, {0: mine, 1: beat(at)}) for at in (0.0, 2.0, 4.0))
    assert not silence.lost(4.0 + silence.LEAST, {0: mine, 1: beat(4.0)})
    assert silence.lost(4.1 + silence.LEAST, {0: mine, 1: beat(4.0)})  # also where its file is gone
    assert silence.lost(5.0 + silence.LEAST, {0: mine})
    slow = heartbeats.Silence(0)
    assert not any(slow.lost(at, {1: beat(at)}) for at in (0.0, 30.0))
    assert not slow.lost(170.0, {1: beat(30.0)}) and slow.lost(181.0, {1: beat(30.0)})
    once = heartbeats.Silence(0)
    assert not once.lost(0.0, {1: beat(0.0)}) and not once.lost(once.UNSURE, {1: beat(0.0)})
    assert once.lost(once.UNSURE + 0.1, {1: beat(0.0)})
    assert not heartbeats.Silence(1).lost(1000.0, {1: beat(0.0)})  # its own says nothing
