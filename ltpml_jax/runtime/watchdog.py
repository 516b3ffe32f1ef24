"""Time limits: a hang, of this process or of another that it waits for, becomes an error that names the silent one.

The main thread reports what it gets done (`beat`), in all processes the same in number and order. Threads beside it
write that to a file for the other processes (heartbeats.py), and end this one where a limit is exceeded.
"""

import ctypes
import faulthandler
import json
import multiprocessing
import operator
import os
import shutil
import signal
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from ltpml_jax.errors import SharedError, UserError
from ltpml_jax.runtime import heartbeats, screen
from ltpml_jax.runtime.files import write_atomic
from ltpml_jax.runtime.preemption import PreemptedError

EXIT_STATUS = os.EX_TEMPFAIL  # 75: nothing that a person has to fix; launchers may start the run again


class watching:
    """In a `with` block, process `number` of `count` ends with status 75 where it exceeds a limit.

    Limits in seconds, 0 for none: until `started`, and after it from one `beat` to the next, where that of the start
    holds again while a program is compiled. Time in which this process was suspended does not count.
    """

    def __init__(self, workdir: Path, number: int, count: int, start_limit: float, step_limit: float) -> None:
        """Starts nothing yet."""
        self.folder, self.stacks = workdir / ".processes", workdir / f"stacks.process-{number}.txt"
        self.number, self.count, self.limits = number, count, (start_limit, step_limit)
        # No file system gets more than 100 writes a second, however many the processes.
        self.interval = min(max(min(filter(None, self.limits), default=60) / 10, 0.25), max(2.0, count / 100))
        self.clock, self.running, self.compiling, self.exit, self.found, self.where = 0.0, False, False, "", "", ""
        self.done: tuple[int, str, float] = (0, "start of the command", 0.0)  # beats, the last, when: replaced as one
        self.over, self.ending, self.writing = threading.Event(), threading.Lock(), threading.Lock()

    def __enter__(self) -> None:
        """Start the threads."""
        global _watch
        self.earlier, _watch = _watch, self  # whose handler of SIGABRT stays
        threading.Thread(target=self._keep_time, daemon=True).start()
        if self.count > 1:
            shutil.rmtree(self.folder, ignore_errors=True)  # an earlier run's; processes that live write again soon
            threading.Thread(target=self._write_often, daemon=True).start()
            # JAX's own threads abort when process 0 is gone, without a reason. A handler of Python's would be late.
            self.libc, self.handler = ctypes.CDLL(None), ctypes.CFUNCTYPE(None, ctypes.c_int)(self._aborted)
            self.libc.signal.restype, self.libc.signal.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
            self.previous = self.libc.signal(signal.SIGABRT, ctypes.cast(self.handler, ctypes.c_void_p))

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """End the threads, and remove the heartbeat; after an error it stays and names the error."""
        self.over.set()
        if error is not None and not isinstance(error, PreemptedError | SystemExit | SharedError):
            how = heartbeats.ENDED if isinstance(error, UserError) else heartbeats.FAILED
            self.exit = self.exit or f"{how} with {str(error) or type(error).__name__!r}"
        if self.count > 1:
            self._write()

    def end(self, cause: str, anyway: bool = True) -> None:
        """Print `error: CAUSE: ` with the process to blame and end this one; not `anyway`: only where there is one."""
        self.ending.acquire(timeout=60)  # a thread that came before this one is about to end the process
        (thread := threading.Thread(target=self._examine, daemon=True)).start()
        thread.join(3 * self.interval + 10)  # the file system may hang too
        if not (self.found or anyway):
            return
        for worker in multiprocessing.active_children():  # of the input, which would outlive us
            worker.kill()
        alone = f"all {self.count} processes respond and none is behind; " if self.count > 1 else ""
        found = self.found and f"{self.found}; check its log and its host"
        found = found or f"{alone}the last thing done was {self.done[1]!r}"
        # A terminal may stand in the middle of the progress line.
        start = "\n" if os.isatty(screen.descriptor()) else ""
        text = f"{start}error: {cause}: {found}; the same command resumes from the newest checkpoint{self.where}.\n"
        # Calls of C that keep the interpreter's lock, and no bytecode in between at which another thread could take it
        # and never give it back: the process ends when its sentence is printed.
        libc = ctypes.PyDLL(None)
        last = (
            partial(libc.write, screen.descriptor(), text.encode(), len(text.encode())),
            partial(libc._exit, EXIT_STATUS),
        )
        list(map(operator.call, last))

    def _examine(self) -> None:
        if self.count > 1:
            self.found = f"{self.folder} cannot be read either"
            first = heartbeats.read(self.folder)
            time.sleep(2 * self.interval + 2)
            self._write()
            self.found, certain = heartbeats.blame(self.number, self.count, first, heartbeats.read(self.folder))
            if certain or not self.exit:
                self.exit = heartbeats.GAVE_UP  # what happens in this process is no fault of its own
                self._write()
        with suppress(OSError), self.stacks.open("w") as file:
            faulthandler.dump_traceback(file)
            self.where = f"; where this process stood is in {self.stacks}"

    def _aborted(self, number: int) -> None:
        if threading.get_ident() != threading.main_thread().ident and (self.exit or not self.over.is_set()):
            self.end("The processes have lost each other", anyway=False)
        if screen.descriptor() != 2:
            os.write(screen.descriptor(), f"error: A library ended this process; see {screen.FILE}.\n".encode())
        self.libc.signal(signal.SIGABRT, self.previous)  # what cannot be explained here is passed on

    def _keep_time(self) -> None:
        tick, then, silence = self.interval / 2, time.monotonic(), heartbeats.Silence(self.number)
        while not self.over.wait(tick):
            now = time.monotonic()
            self.clock, then = self.clock + min(now - then, 2 * tick), now  # more than that, it was suspended
            # In steps a lost process breaks the connections of the others; before them, these would wait for it.
            if self.count > 1 and not self.running and silence.lost(self.clock, heartbeats.read(self.folder)):
                self.end("A process was lost while the run started", anyway=False)
            which = self.running and not self.compiling
            limit, waited = self.limits[which], self.clock - self.done[2] * self.running
            if 0 < limit < waited:
                what = ("The run did not start within", "Nothing was finished for")[self.running]
                self.end(f"{what} {limit:g} s (config.train.{('start', 'step')[which]}_limit)")

    def _write_often(self) -> None:
        while not self.over.wait(self.interval):
            self._write()

    def _write(self) -> None:
        name, (beats, what, when) = f"process {self.number} ({os.uname().nodename})", self.done
        with self.writing, suppress(OSError):  # where that fails, the others find this process silent
            if self.over.is_set() and not self.exit:
                shutil.rmtree(self.folder, ignore_errors=True)
            else:
                self.folder.mkdir(parents=True, exist_ok=True)
                heartbeat = json.dumps([name, beats, what, self.clock - when, self.exit])
                write_atomic(self.folder / f"{self.number}.json", heartbeat)


_watch = watching(Path(os.devnull), 0, 1, 0, 0)  # a process has one, as it has one main thread


def beat(what: str) -> None:
    """Report that `what` is done; costs next to nothing."""
    _watch.done, _watch.compiling = (_watch.done[0] + 1, what, _watch.clock), False


def compiling() -> None:
    """Report that a program is compiled next: the limit of the start holds until the next `beat`."""
    _watch.compiling = True


def started() -> None:
    """Report that the start is over: everything is loaded, joined and compiled, and the step limit holds."""
    if not _watch.running:
        beat("start")
        _watch.running = True


def give_up(cause: str) -> None:
    """End with a sentence and status 75 at once, where an ordinary exit would wait for processes that are gone."""
    _watch.end(cause[0].upper() + cause[1:])
