"""Train: `ltpml train --config=configs/digits_mlt.py:0.3 --workdir=DIR [--config.FIELD=VALUE ...]`."""

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags

from ltpml_jax.cli import Command
from ltpml_jax.errors import SharedError, UserError
from ltpml_jax.runtime import preemption

FIELDS = "Any field of the config is set by --config.FIELD=VALUE; docs/config.md lists them all."


def define(values: flags.FlagValues) -> None:
    """The flags that `train` and `preflight` share; --config.FIELD comes with the config."""
    flags.DEFINE_string("config", "", "Config file, after a colon its argument: FILE.py[:ARGUMENT].", values)
    flags.DEFINE_string("workdir", "", "Directory of the run; the same command again resumes it.", values)
    flags.DEFINE_bool(
        "multihost", False, "Join the other hosts of a TPU pod; elsewhere that needs no flag.", flag_values=values
    )


def start(values: Any, check: bool) -> None:
    """Train, or only check the machines, together with the other processes of the run.

    Raises UserError; exits with 2 where a check is bad, with 143 after SIGTERM, with 130 after Ctrl-C, and with 75
    where a process is lost.
    """
    from ltpml_jax.config import validate  # JAX comes with it

    config, workdir = values.config, Path(values.workdir)
    validate(config)
    from ltpml_jax import trainer
    from ltpml_jax.commands import preflight_report
    from ltpml_jax.runtime import processes, screen, watchdog

    limits = config.train.start_limit, config.train.step_limit
    silence = min(max(limits[1] / 5, 10), 60) if limits[1] else 100  # seconds; 100 is JAX's own
    number, count = processes.expected()
    noise = workdir / (f"{number}.{screen.FILE}" if count > 1 else screen.FILE)
    with contextlib.nullcontext() if check else screen.libraries_to(noise), _ending():
        if values.multihost:
            processes.join(True, limits[0], silence)
        with watchdog.watching(workdir, *processes.expected(), *limits):
            if not values.multihost:
                processes.join(False, limits[0], silence)
            if not check:
                trainer.train(config, workdir)
            elif not preflight_report.run(config, workdir, limits[0]):
                sys.exit(2)


@contextlib.contextmanager
def _ending() -> Iterator[None]:
    """Ends of one of several processes: what all report the first one prints, and none waits for the others."""
    import jax

    from ltpml_jax.runtime import processes, watchdog

    try:
        yield
    except preemption.PreemptedError as stopped:
        if processes.is_first():
            print(stopped, file=sys.stderr, flush=True)
        sys.exit(stopped.status)
    except SharedError:
        if not processes.is_first():
            sys.exit(2)
        raise
    except UserError as error:
        if not jax.distributed.is_initialized():
            raise
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(2)  # Python's own way out would wait for the other processes
    except Exception as error:
        if not jax.distributed.is_initialized():
            raise
        traceback.print_exc()
        watchdog.give_up(f"{processes.name()} failed ({type(error).__name__})")


def _define(values: flags.FlagValues) -> None:
    define(values)
    flags.DEFINE_bool("preflight", False, "Do as `ltpml preflight` does, and do not train.", flag_values=values)


COMMAND = Command(
    "Train a config, or resume its run.",
    _define,
    ("config", "workdir"),
    lambda values: start(values, values.preflight),
    note=FIELDS,
    compiles=True,
)
