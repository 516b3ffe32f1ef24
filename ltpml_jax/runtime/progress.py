"""One progress line: rewritten in place on a terminal, a plain line now and then elsewhere."""

import sys
import time
from typing import TextIO

PLAIN_EVERY = 10.0  # seconds between lines where there is no terminal
TERMINAL_EVERY = 0.2


class Progress:
    """Shows loss, images/s and the time that is left of `total` steps of `batch` images."""

    def __init__(self, total: int, batch: int, stream: TextIO = sys.stderr) -> None:
        """Speed counts from the first step shown, so that compilation stays out of it."""
        self.total, self.batch, self.stream = total, batch, stream
        self.terminal = stream.isatty()
        self.every = TERMINAL_EVERY if self.terminal else PLAIN_EVERY
        self.began: tuple[int, float] | None = None
        self.shown = 0.0
        self.held_back = ""  # the newest text, where it was not yet time to print it

    def update(self, step: int, epoch: int, loss: float) -> None:
        """Tell that `step` steps are done, in an epoch counted from 0; prints when it is time to, and when closed."""
        now = time.monotonic()
        if self.began is None:
            self.began = (step, now)
        text = f"epoch {epoch + 1}  step {step}/{self.total}  loss {loss:.4f}{self._speed(step)}"
        if now - self.shown < self.every:
            self.held_back = text
            return
        self.shown, self.held_back = now, ""
        self._write(text)

    def close(self) -> None:
        """Show the last step, and end its line, so that what follows starts on one of its own."""
        if self.held_back:
            self._write(self.held_back)
        if self.terminal and self.shown:
            self.stream.write("\n")
            self.stream.flush()
        self.shown, self.held_back = 0.0, ""

    def speed(self, step: int) -> float:
        """Images a second from the first step told of to this one; 0 at the first."""
        first, began = self.began or (step, 0.0)
        if step == first:
            return 0.0
        return self.batch * (step - first) / (time.monotonic() - began)

    def _speed(self, step: int) -> str:
        speed = self.speed(step)
        if not speed:
            return ""
        minutes, rest = divmod(round(self.batch * (self.total - step) / speed), 60)
        return f"  {speed:.0f} images/s  ETA {minutes}:{rest:02d}"

    def _write(self, text: str) -> None:
        self.stream.write(f"\r\x1b[K{text}" if self.terminal else f"{text}\n")
        self.stream.flush()
