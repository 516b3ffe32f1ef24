"""One progress line: tqdm's on a terminal, a plain line now and then elsewhere."""

import sys
import time
from typing import TextIO

from tqdm import tqdm

PLAIN_EVERY, TERMINAL_EVERY = 10.0, 0.2  # seconds between lines


class Progress:
    """Shows loss, images/s and the time that is left of `total` steps of `batch` images."""

    def __init__(self, total: int, batch: int, stream: TextIO = sys.stderr) -> None:
        """Speed counts from the first step shown, so that compilation stays out of it."""
        self.total, self.batch, self.stream = total, batch, stream
        self.first, self.began, self.printed, self.waiting = 0, 0.0, 0.0, ""
        # The delay keeps tqdm from a line before the first step; without `miniters` it may leave steps out.
        options = {"mininterval": TERMINAL_EVERY, "miniters": 1, "delay": 1e-9, "bar_format": "{desc} |{bar:20}|"}
        self.bar = tqdm(total=total, file=stream, **options) if stream.isatty() else None
        if self.bar is not None and min(self.bar.ncols or 0, self.bar.nrows or 0) < 1:
            self.bar.ncols = self.bar.nrows = None  # a terminal that does not say how large it is gets the line too

    def update(self, step: int, epoch: int, loss: float) -> None:
        """Report that `step` steps are done, in an epoch counted from 0; shows it when it is time to."""
        now = time.monotonic()
        if not self.began:
            self.first, self.began = step, now
        text = f"epoch {epoch + 1}  step {step}/{self.total}  loss {loss:.4f}"
        if speed := self.speed(step):
            left = tqdm.format_interval(round(self.batch * (self.total - step) / speed)).removeprefix("0")
            text += f"  {speed:.0f} images/s  ETA {left}"
        if self.bar is not None:
            self.bar.set_description_str(text, refresh=False)
            self.bar.update(step - self.bar.n)
        elif now - self.printed >= PLAIN_EVERY:
            self.printed, self.waiting = now, ""
            print(text, file=self.stream, flush=True)
        else:
            self.waiting = text

    def close(self) -> None:
        """Show the last step, and end its line, so that what follows starts on one of its own."""
        if self.bar is not None:
            self.bar.close()
        if self.waiting:
            print(self.waiting, file=self.stream, flush=True)
        self.waiting = ""

    def speed(self, step: int) -> float:
        """Images a second from the first step shown to this one; 0 at the first."""
        if not self.began or step == self.first:
            return 0.0
        return self.batch * (step - self.first) / (time.monotonic() - self.began)
