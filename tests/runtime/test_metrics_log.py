"""metrics.jsonl and TensorBoard events: what goes in, and what a continued run keeps."""

import errno
import json
import os
import sys
import types

import numpy as np
import pytest

from ltpml_jax.errors import UserError
from ltpml_jax.runtime.metrics_log import MetricsLog, check_whole, clean, kept_lines, lost, step_record


def fill(workdir, steps):
    records = MetricsLog(workdir, 0)
    records.write([{"step": step, "epoch": (step - 1) // 2, "loss": step / 3} for step in steps])
    records.close()


def steps(workdir):
    return [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_going_on_cuts_what_lies_after_the_checkpoint(tmp_path):
    fill(tmp_path, [1, 2, 3, 4])
    before = (tmp_path / "metrics.jsonl").read_text().splitlines(keepends=True)
    MetricsLog(tmp_path, 3).close()
    assert (tmp_path / "metrics.jsonl").read_text() == "".join(before[:3])
    MetricsLog(tmp_path, 0).close()
    assert steps(tmp_path) == []


def test_a_torn_line_is_dropped(tmp_path):
    fill(tmp_path, [1, 2])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "loss"')
    MetricsLog(tmp_path, 9).close()
    assert steps(tmp_path) == [1, 2]


def test_a_line_that_is_whole_without_its_end_is_dropped_too(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}')
    assert kept_lines(path, 9) == ['{"step": 1}\n']


@pytest.mark.parametrize("line", ["nonsense", "[1]", '{"loss": 1}', '{"step": "1"}', "[" * 100_000])
def test_a_file_that_is_not_ours_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1}}\n{line}\n')
    with pytest.raises(UserError, match=rf"Line 2 of {path} .*; restore"):
        kept_lines(path, 9)
    assert path.read_text() == f'{{"step": 1}}\n{line}\n'


def test_the_losses_of_an_epoch_come_from_the_file(tmp_path):
    fill(tmp_path, [1, 2, 3])
    records = MetricsLog(tmp_path, 3)
    records.write([{"step": 4, "epoch": 1, "loss": 0.5}, {"step": 4, "epoch": 1, "epoch_loss": 9.0}])
    assert records.epoch_losses(1) == [1.0, 0.5]
    assert records.epoch_losses(0) == [1 / 3, 2 / 3]
    records.close()


def test_a_step_is_written_with_every_bit(tmp_path):
    loss = np.float32(0.1)
    reliable = np.array([1, 0, 0, 0, 0, 0, 0, 1, 1], bool)
    record = step_record(5, 2, {"loss": loss, "reliable": reliable}, bytes([171, 1]))
    assert record == {"step": 5, "epoch": 2, "batch": "ab01", "loss": float(loss), "reliable": "8180"}
    assert np.float32(json.loads(json.dumps(record))["loss"]) == loss


def test_undefined_numbers_are_null():
    line = {"a": float("nan"), "b": float("inf"), "c": 1.5, "d": "x", "e": 2}
    assert clean(line) == {"a": None, "b": None, "c": 1.5, "d": "x", "e": 2}


def test_the_events_hold_the_numbers_and_load_without_tensorflow(tmp_path):
    records = MetricsLog(tmp_path, 0)
    records.write([{"step": 3, "epoch": 0, "loss": 0.25, "validation_mAP": float("nan")}])
    records.scalar("speed", 12.0, 3)
    records.close()
    (file,) = (tmp_path / "tensorboard").glob("events.out.tfevents.*")
    assert scalars(file) == [("loss", 0.25, 3), ("speed", 12.0, 3)]


def test_a_histogram_is_of_equal_parts(tmp_path):
    records = MetricsLog(tmp_path, 0)
    records.histogram("beliefs", np.array([1, 0, 0, 3]), 9)
    records.close()
    (file,) = (tmp_path / "tensorboard").glob("events.out.tfevents.*")
    ((tag, found),) = [(value.tag, value.histo) for event in events(file) for value in event.summary.value]
    assert (tag, found.num, found.min, found.max) == ("beliefs", 4, 0, 1)
    counts = [count for count in found.bucket if count]
    limits = [limit for limit, count in zip(found.bucket_limit, found.bucket, strict=True) if count]
    assert (counts, limits) == ([1, 3], [0.25, 1.0])
    assert (found.sum, found.sum_squares) == (0.125 + 3 * 0.875, 0.125**2 + 3 * 0.875**2)


def test_tensorboard_hides_what_a_resumed_run_writes_anew(tmp_path):
    from tensorboardX.proto import event_pb2

    MetricsLog(tmp_path, 7).close()
    (file,) = (tmp_path / "tensorboard").glob("events.out.tfevents.*")
    (mark,) = [event for event in events(file) if event.HasField("session_log")]
    assert (mark.step, mark.session_log.status) == (8, event_pb2.SessionLog.START)


def test_a_torch_that_is_already_imported_stays(tmp_path, monkeypatch):
    torch = types.ModuleType("torch")
    torch.Tensor = object
    monkeypatch.setitem(sys.modules, "torch", torch)
    MetricsLog(tmp_path, 0).close()
    assert sys.modules["torch"] is torch


def test_no_trace_of_what_is_hidden_remains(tmp_path):
    MetricsLog(tmp_path, 0).close()
    assert not {"torch", "comet_ml"} & {name for name, module in sys.modules.items() if module is None}


def scalars(path):
    """(tag, value, step) of every scalar."""
    return [(value.tag, value.simple_value, event.step) for event in events(path) for value in event.summary.value]


def events(path):
    """Every event: TFRecord framing by hand, with its checksums, the message by tensorboardX's own schema."""
    from tensorboardX.crc32c import crc32c
    from tensorboardX.proto import event_pb2

    data, out = path.read_bytes(), []
    while data:
        length = int.from_bytes(data[:8], "little")
        for part, mask in ((data[:8], data[8:12]), (data[12 : 12 + length], data[12 + length : 16 + length])):
            crc = crc32c(part)
            assert (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little") == mask
        out.append(event_pb2.Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return out


def six_steps(workdir):
    """The lines of three epochs of two steps; the third has no summary."""
    fill(workdir, [])
    records = MetricsLog(workdir, 0)
    for step in range(1, 7):
        records.write([{"step": step, "epoch": (step - 1) // 2, "loss": 1.0}])
        if step in (2, 4):
            records.write([{"step": step, "epoch": (step - 1) // 2, "epoch_loss": 1.0}])
    records.close()
    return workdir / "metrics.jsonl"


def test_records_that_are_whole_are_not_complained_of(tmp_path):
    assert lost(tmp_path, 0, 2) == ""
    six_steps(tmp_path)
    assert [lost(tmp_path, step, 2) for step in (0, 3, 6)] == ["", "", ""]
    check_whole(tmp_path, 6, 2)


@pytest.mark.parametrize(
    ("kept", "what"),
    [
        ((0, 1, 2, 4, 5, 6, 7), "1 of 6 steps (from 3 to 3);"),
        ((0, 1, 2, 3), "3 of 6 steps (from 4 to 6) and the summaries of 1 epochs;"),
        ((4, 5, 6, 7), "3 of 6 steps (from 1 to 3) and the summaries of 1 epochs;"),
        ((0, 1, 3, 4, 5, 6, 7), "the summaries of 1 epochs;"),
        ((), "6 of 6 steps (from 1 to 6) and the summaries of 2 epochs;"),
    ],
)
def test_lost_lines_are_counted_by_hand(tmp_path, kept, what):
    path = six_steps(tmp_path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[number] for number in kept))
    assert lost(tmp_path, 6, 2).startswith(f"{path} has lost the records of {what} all that was trained")
    MetricsLog(tmp_path, 6).close()  # a resumed run does not take the lines that are left for all
    with pytest.raises(UserError, match="Restore the file from a copy; or delete it"):
        check_whole(tmp_path, 6, 2)


def test_a_file_that_was_deleted_is_done_without(tmp_path):
    six_steps(tmp_path).unlink()
    assert "6 of 6 steps" in lost(tmp_path, 6, 2)
    records = MetricsLog(tmp_path, 5)
    assert records.epoch_losses(2) == [] and not records.has_epoch(4)
    assert lost(tmp_path, 5, 2) == ""
    records.write([{"step": 6, "epoch": 2, "loss": 1.0}])
    records.close()
    assert lost(tmp_path, 6, 2) == ""
    assert "1 of 7 steps (from 7 to 7)" in lost(tmp_path, 7, 2)


def test_events_that_find_no_room_are_one_sentence_and_no_thread_waits(tmp_path, monkeypatch):
    """More than the twenty that the queue of tensorboardX holds: with its thread ended, they would wait for ever."""
    records = MetricsLog(tmp_path, 0)

    def full(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(records.events.file_writer.event_writer._ev_writer._py_recordio_writer, "write", full)
    with pytest.raises(
        UserError, match=f"{tmp_path}/tensorboard cannot be written .No space left on device.; make room"
    ):
        for step in range(1, 100):
            records.write([{"step": step, "epoch": 0, "loss": 1.0}])
    records.close()
    assert len(records.path.read_text().splitlines()) < 100
