"""Child processes: how many at a time, what is known of their ends, and what signals do to them."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from ltpml_jax.runtime import children
from ltpml_jax.runtime.children import Child

pytestmark = pytest.mark.processes


def python(code: str, output: Path) -> Child:
    return Child([sys.executable, "-c", code], output)


def ends(tasks: list[Child], jobs: int, **options) -> tuple[list[children.Ended], int]:
    found: list[children.Ended] = []
    came = children.run(tasks, jobs, found.append, dict(os.environ), **options)
    return sorted(found), came


def test_statuses_and_last_lines_are_those_of_the_children(tmp_path):
    codes = ["print('one')", "import sys; print('two\\n\\n'); sys.exit('three')", "import os; os.kill(os.getpid(), 9)"]
    tasks = [python(code, tmp_path / str(number) / "log") for number, code in enumerate(codes)]
    found, came = ends(tasks, 2)
    assert [(end.number, end.status, end.line) for end in found] == [(0, 0, "one"), (1, 1, "three"), (2, 137, "")]
    assert came == 0 and not any(end.asked for end in found) and all(end.seconds > 0 for end in found)


def test_the_last_line_is_of_this_process_and_not_of_an_earlier_one(tmp_path):
    (tmp_path / "log").write_text("error: of before\n")
    found, _ = ends([python("", tmp_path / "log")], 1)
    assert found[0].line == "" and (tmp_path / "log").read_text() == "error: of before\n"


def test_so_many_run_at_a_time_and_each_on_its_cores(tmp_path):
    code = (
        "import os, pathlib, sys, time\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "(folder / f'{os.getpid()}.up').touch()\n"
        "time.sleep(0.5)\n"
        "print(len(list(folder.glob('*.up'))), len(os.sched_getaffinity(0)))\n"
        "(folder / f'{os.getpid()}.up').unlink()"
    )
    found, _ = ends([python(code, tmp_path / f"{number}.log") for number in range(4)], 2, own_cores=True)
    seen = [tuple(map(int, end.line.split())) for end in found]
    cores = len(os.sched_getaffinity(0))
    assert max(up for up, _ in seen) == 2 and all(own <= max(-(-cores // 2), 1) for _, own in seen)


WAITS = "import signal, time\n{handler}\nprint('up', flush=True)\ntime.sleep(60)"
SAVES = "signal.signal(signal.SIGTERM, lambda *_: (print('saved'), exit(143)))"
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_children_save_and_begins_no_other(tmp_path, sent):
    earlier = signal.signal(sent, signal.default_int_handler)  # under nohup it would be ignored
    before = signal.getsignal(sent)
    tasks = [python(WAITS.format(handler=SAVES), tmp_path / f"{number}.log") for number in range(3)]
    when_up([tmp_path / "0.log", tmp_path / "1.log"], sent)
    found, came = ends(tasks, 2)
    assert came == sent and signal.getsignal(sent) is before
    assert [(end.number, end.status, end.line, end.asked) for end in found] == [
        (0, 143, "saved", True),
        (1, 143, "saved", True),
    ]
    assert not (tmp_path / "2.log").exists()
    signal.signal(sent, earlier)


def test_a_second_signal_kills(tmp_path):
    when_up([tmp_path / "log"], signal.SIGTERM, again=0.5)
    found, came = ends([python(WAITS.format(handler=STUBBORN), tmp_path / "log")], 1)
    assert came == signal.SIGTERM and [(end.status, end.asked) for end in found] == [(137, True)]


def when_up(logs: list[Path], number: int, again: float = 0.0) -> None:
    """Send this process a signal when all children have written something, and perhaps once more."""

    def send() -> None:
        while not all(log.exists() and log.read_text() for log in logs):
            time.sleep(0.05)
        os.kill(os.getpid(), number)
        if again:
            time.sleep(again)
            os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()


def test_children_end_where_the_caller_fails(tmp_path):
    def fails(end: children.Ended) -> None:
        raise RuntimeError("no room")

    tasks = [python("print('one')", tmp_path / "0.log"), python(WAITS.format(handler=""), tmp_path / "1.log")]
    begin = time.monotonic()
    with pytest.raises(RuntimeError, match="no room"):
        children.run(tasks, 2, fails, dict(os.environ))
    assert time.monotonic() - begin < 30
