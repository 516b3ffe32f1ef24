"""The checks of all processes together: a line for each, and a bad one names process and host."""

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from ltpml_jax.commands.preflight_checks import Check, Checks, Common
from ltpml_jax.errors import UserError
from ltpml_jax.methods.settings import Config
from ltpml_jax.runtime import processes, watchdog
from ltpml_jax.runtime.files import writing
from ltpml_jax.workdir import PATIENCE, check_workdir, shows

MARK = ".preflight-"


class Finding(NamedTuple):
    """What a check finds in the process `who`: `text` for people, `common` that all must agree on, and what is bad."""

    who: str
    text: str
    common: Common
    bad: str


def run(config: Config, workdir: Path, limit: float) -> bool:
    """Make all checks, print a line for each (process 0 does), and return whether all are good: the same everywhere.

    config is validated, and the processes have joined. limit: seconds that the start may take; 0 for any.
    Raises UserError where JAX has no devices here, with which no check could be reported.
    """
    processes.local_devices()
    made = Checks(config, workdir)
    try:
        made.hosts = processes.exchange(made.host())
    except Exception as error:  # JAX's, gloo's, NCCL's: then they can exchange nothing more
        return _report("processes", "", [f"{processes.name()}: {' '.join(str(error).split())}"], 0)
    patience = min(PATIENCE, limit / 4) if limit else PATIENCE
    checks: tuple[Callable[[], bool], ...] = (
        lambda: _check("processes", made.processes),
        lambda: _check("versions", made.versions),
        lambda: _check("config", made.fields),
        lambda: _check("devices", made.devices),
        lambda: _check("collective", made.collective),
        lambda: _check_workdir(config, workdir, patience),
        lambda: _check("data", made.data),
        lambda: _check("run", made.run),
        lambda: _check("room", made.room),
    )
    return all([check() for check in checks])


def _check(title: str, check: Check) -> bool:
    """Check in every process; good where nothing is bad and all agree on what must be common."""
    began = time.monotonic()
    findings = _in_all(title, check)
    good = [finding for finding in findings if not finding.bad]
    usual = _usual([finding.common for finding in good])
    bad = [f"{finding.who}: {finding.bad}" for finding in findings if finding.bad]
    bad += [f"{finding.who}: {_differences(finding.common, usual)}" for finding in good if finding.common != usual]
    return _report(title, good[0].text if good else "", bad, time.monotonic() - began)


def _in_all(title: str, check: Check) -> list[Finding]:
    """What `check` finds, or raises, in every process."""
    text, common, bad = "", {}, ""
    try:
        text, common = check()
    except UserError as error:
        bad = str(error)
    except Exception as error:  # whatever it is, the other checks are made too
        bad = f"{type(error).__name__}: {' '.join(str(error).split())}"
    watchdog.beat(f"preflight: {title}")
    own = json.dumps([processes.name(), text, common, bad])
    return [Finding(*json.loads(line)) for line in processes.exchange(own)]


def _usual(found: list[Common]) -> Common:
    """Those that most processes have; of equally many the first's."""
    counts = Counter(json.dumps(one, sort_keys=True) for one in found)
    return json.loads(counts.most_common(1)[0][0]) if counts else {}


def _differences(common: Common, usual: Common) -> str:
    names = sorted(name for name in common.keys() | usual.keys() if common.get(name) != usual.get(name))
    return "; ".join(f"{name} is {common.get(name)}, elsewhere {usual.get(name)}" for name in names)


def _report(title: str, text: str, bad: list[str], seconds: float) -> bool:
    took = f" ({seconds:.1f} s)" if seconds > 0.1 else ""
    for line in bad or [text]:
        if processes.is_first():
            print(f"{'BAD' if bad else 'ok':<4} {title:<11} {line}{took}", flush=True)  # a hang may be next
    return not bad


def _check_workdir(config: Config, workdir: Path, patience: float) -> bool:
    """Every process can write there, and sees what the others write; nothing is left behind."""
    began = time.monotonic()
    mark = workdir / f"{MARK}{jax.process_index()}"
    try:
        written = _in_all("workdir written", lambda: _write(config, workdir, mark))
        marks = {number: finding.common["mark"] for number, finding in enumerate(written) if not finding.bad}
        read = _in_all("workdir read", lambda: (str(workdir.resolve()), {"seen": _seen(workdir, marks, patience)}))
    finally:
        with contextlib.suppress(OSError):
            mark.unlink()
    bad = [f"{finding.who}: {finding.bad}" for finding in [*written, *read] if finding.bad]
    bad += _apart({number: read[number] for number in marks if not read[number].bad})
    all_see = f", and each of {jax.process_count()} processes sees what the others write"
    text = f"{workdir} can be written" + all_see * (jax.process_count() > 1)
    return _report("workdir", text, bad, time.monotonic() - began)


def _write(config: Config, workdir: Path, mark: Path) -> tuple[str, Common]:
    check_workdir(config, workdir)
    token = os.urandom(8).hex()
    with writing(f"The work directory {workdir}"):
        mark.write_text(token, encoding="utf-8")
    return "", {"mark": token}


def _seen(workdir: Path, marks: dict[int, Any], patience: float) -> list[int]:
    """The processes whose marks can be read here, after waiting for those that cannot."""

    def seen() -> list[int]:
        return [number for number, mark in marks.items() if _text(workdir / f"{MARK}{number}") == mark]

    shows(workdir, lambda: len(seen()) == len(marks), patience)
    return seen()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _apart(read: dict[int, Finding]) -> list[str]:
    """A sentence for each process that does not see what most see."""
    most = max((finding.common["seen"] for finding in read.values()), key=len, default=[])
    out = []
    for finding in read.values():
        unseen = [read[number].who for number in most if number not in finding.common["seen"] and number in read]
        if unseen:
            more = f" and {len(unseen) - 1} more" if len(unseen) > 1 else ""
            out.append(
                f"{finding.who}: {finding.text} does not show what {unseen[0]}{more} writes to its --workdir; give one "
                "folder on a file system that all hosts share"
            )
    return out
