"""Mutate valid inputs at random and read them: `python tests/fuzz.py [INPUTS] [FIRST_SEED]`.

A reader may accept an input, or refuse it by a UserError of one line, within LIMIT seconds; all else is a failure,
printed with the reader's name and the seed that makes the input again. What was found is kept as tests of the readers.
"""

import json
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ltpml_jax.errors import UserError
from tests.helpers import readers
from tests.helpers.contents import put

READ, REFUSED = "read", "refused"
LIMIT = 20.0  # seconds for one input
# What files of the wild hold in the wrong place.
TOKENS = [
    b"", b"\0", b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\n", b"\r", b",", b";", b'"', b"'", b"{", b"}", b"[", b"]",
    b":", b"<", b">", b"&#55296;", b"-1", b"1e999", b"NaN", b"null", b"true", b"\xef\xbb\xbf", b"../..", b"/", b"//",
    b"%00", b"http://a/b.jpg", b"gs:x://b.jpg", b"~nobody/x", b" ", b"\t", b"\xe2\x80\xa8", b"99999999999999999999",
    b"0x10", b"\x1b[2J", b"a", b"1", b"0", b"?", b"cat", b"dog",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**64, 10**400, 1.5, float("nan"), float("inf"), "", " ", "a", "\0", "\ud800",
    "\n", "../../etc/passwd", "http://a/b.jpg", "é", "x" * 5000, [], {}, [[]], [None], {"a": 1}, [1, "a"], "1",
    "\u202e", "\x1b",
]  # fmt: skip


class Ending(NamedTuple):
    """How an input ended: the reader, the seed, and READ, REFUSED, or what came otherwise."""

    reader: str
    seed: int
    what: str


def mutated(seed: bytes, draw: random.Random) -> bytes:
    """The bytes with one to three changes, of single bytes, tokens, spans, or of values where they are JSON."""
    data = seed
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        change = draw.choice([_byte, _token, _token, _token_instead, _cut, _twice, _value, _value, _value])
        data = change(data, draw)
    return data


def _byte(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data) + 1)
    return data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]


def _token(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data) + 1)
    return data[:at] + draw.choice(TOKENS) + data[at:]


def _token_instead(data: bytes, draw: random.Random) -> bytes:
    """A token in place of what lies between two marks: a cell of a table, a string, an element."""
    marks = [at for at, one in enumerate(data) if one in b',;:"<>\n[]{} ']
    if len(marks) < 2:
        return _token(data, draw)
    number = draw.randrange(len(marks) - 1)
    return data[: marks[number] + 1] + draw.choice(TOKENS) + data[marks[number + 1] :]


def _span(data: bytes, draw: random.Random) -> tuple[int, int]:
    at = draw.randrange(len(data) + 1)
    return at, min(len(data), at + draw.choice([1, 1, 2, 4, 20, 200]))


def _cut(data: bytes, draw: random.Random) -> bytes:
    start, end = _span(data, draw)
    return data[:start] + data[end:]


def _twice(data: bytes, draw: random.Random) -> bytes:
    start, end = _span(data, draw)
    return data[:end] + data[start:end] * draw.choice([1, 1, 1, 300]) + data[end:]


def _value(data: bytes, draw: random.Random) -> bytes:
    """JSON with a value taken out, or replaced by a strange one or another of it; other bytes with a token more."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return _token(data, draw)
    places = list(_places(content))[:2000]
    if not places:
        return json.dumps(draw.choice(VALUES)).encode()
    holder, key = draw.choice(places)
    kind = draw.randrange(10)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        holder[key] = "DEEP"
    elif kind < 6:
        other, name = draw.choice(places)
        holder[key] = json.loads(json.dumps(other[name]))  # a copy, or the value could come to hold itself
    else:
        holder[key] = draw.choice(VALUES)
    text = json.dumps(content).replace('"DEEP"', "[" * 5000 + "]" * 5000)
    return text.encode()


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key or index) below a JSON value."""
    inside = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inside:
        yield content, key
        yield from _places(value)


def outcome(action: Callable[[], Any]) -> str:
    """READ or REFUSED where it ended as it should, else what came."""
    try:
        with _limited():
            action()
    except UserError as error:
        return f"a sentence of several lines: {error}" if "\n" in str(error) else REFUSED
    except BaseException as error:  # what ends the process is a failure too
        if isinstance(error, KeyboardInterrupt):
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]} ({place.filename}:{place.lineno})"
    return READ


@contextmanager
def _limited() -> Iterator[None]:
    def late(*_: Any) -> None:
        raise TimeoutError(f"not done after {LIMIT:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run(count: int, first: int, folder: Path) -> list[Ending]:
    """Read `count` mutated inputs, of all readers in turn; seeds are `first`, `first` + 1, and so on."""
    made, found = readers.make(folder), []
    for seed in range(first, first + count):
        reader = made[seed % len(made)]
        draw = random.Random(seed)
        file = draw.choice(sorted(reader.files))
        content = mutated(reader.files[file], draw)
        put(reader.folder / file, content)
        found.append(Ending(reader.name, seed, outcome(lambda reader=reader, draw=draw: reader.read(draw))))
        put(reader.folder / file, reader.files[file])
    return found


def failures(endings: list[Ending]) -> list[str]:
    """A line for each input that ended otherwise than it may."""
    return [f"{one.reader}, seed {one.seed}: {one.what}" for one in endings if one.what not in (READ, REFUSED)]


def main() -> None:
    """Print what failed, and how many inputs were read in which time; exits with 1 where something failed."""
    count, first = (int(word) for word in [*sys.argv[1:], *("10000", "0")[len(sys.argv) - 1 :]])
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        endings = run(count, first, Path(folder))
    failed = failures(endings)
    accepted = sum(one.what == READ for one in endings)
    refused = len(endings) - accepted - len(failed)
    seconds = time.monotonic() - started
    print("\n".join(failed))
    print(f"{len(endings)} inputs: {accepted} read, {refused} refused, {len(failed)} failures; {seconds:.0f} s")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
