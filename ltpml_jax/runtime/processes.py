"""Several processes as one run: joining them, and what they exchange while none is in a step.

Callers need not ask whether there are several: one process exchanges with itself.
"""

import logging
import os
import re
import socket
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from ltpml_jax.errors import SharedError, UserError
from ltpml_jax.runtime import watchdog

T = TypeVar("T")
_BY_HAND = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")


def join(multihost: bool, limit: float, silence: float) -> None:
    """Join the other processes of the run, where the environment names some or `multihost` says so (TPU pods).

    limit: seconds until the others must have come, 0 for none; silence: after how many, later on, a silent process
    counts as dead. Raises UserError where they cannot be joined. Call it before anything else of JAX.
    """
    in_slurm = all(name in os.environ for name in _SLURM) and os.environ["SLURM_NTASKS"] != "1"
    several = not in_slurm and not multihost and os.environ.get(_BY_HAND[1], "1") != "1"  # the address was forgotten
    by_hand = _by_hand() if several or _BY_HAND[0] in os.environ else None
    if by_hand is None and not in_slurm and not multihost:
        return
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM from us
    try:
        # The watchdog's limit comes first and names the silent process; this one only ends what that could not.
        jax.distributed.initialize(
            **(by_hand or {}), initialization_timeout=int(limit or 3600) + 60, heartbeat_timeout_seconds=int(silence)
        )
    except Exception as error:  # ValueError, RuntimeError, and what sockets and schedulers raise
        raise UserError(
            f"The processes of the run cannot be joined ({error}); see launch/ for what starts them, and give another "
            "port where another program may use that one."
        ) from error
    watchdog.beat("joining the other processes")
    if not is_first():
        logging.getLogger("ltpml_jax").setLevel(logging.ERROR)  # what concerns all is logged once


def _by_hand() -> dict:
    address = os.environ.get(_BY_HAND[0], "")
    if not re.fullmatch(r"[^\s:]\S*:\d+", address):
        raise UserError(
            f"{_BY_HAND[0]} is {address!r}, with several processes named by hand; set it to HOST:PORT of the first."
        )
    try:
        count, number = (int(os.environ[name]) for name in _BY_HAND[1:])
    except (KeyError, ValueError):
        raise UserError(
            f"{_BY_HAND[0]} is set, so {_BY_HAND[1]} and {_BY_HAND[2]} must be whole numbers; set them too."
        ) from None
    return {
        "coordinator_address": address,
        "num_processes": count,
        "process_id": number,
        "cluster_detection_method": "deactivate",
    }


def expected() -> tuple[int, int]:
    """(this process's number, how many there are) also before they have joined."""
    if jax.distributed.is_initialized():
        return jax.process_index(), jax.process_count()
    for count, number in (_BY_HAND[1:], ("SLURM_NTASKS", "SLURM_PROCID")):
        if os.environ.get(count, "").isdigit() and os.environ.get(number, "").isdigit():
            return int(os.environ[number]), int(os.environ[count])
    return 0, 1


def local_devices() -> list[Any]:
    """This process's devices; UserError where JAX cannot start them."""
    try:
        return jax.local_devices()
    except (RuntimeError, AssertionError) as error:  # the second: after JAX_PLATFORMS has left out all that there are
        reason = f" ({str(error).splitlines()[0].rstrip('.')})" if str(error) else ""
        raise UserError(
            f"JAX cannot start the devices of JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')!r}{reason}; end the "
            "program that holds them, install another driver, or set JAX_PLATFORMS=cpu."
        ) from None


def check_joined() -> None:
    """Raise UserError where this machine belongs to a pod whose processes have not been joined."""
    if jax.process_count() > 1 and not jax.distributed.is_initialized():
        raise UserError(f"This machine is one of {jax.process_count()} of a pod; add --multihost to the command.")


def is_first() -> bool:
    """Whether this is process 0, which writes what is written once."""
    return jax.process_index() == 0


def name() -> str:
    """This process for people: its number and its host."""
    return f"process {jax.process_index()} ({socket.gethostname()})"


def exchange(text: str) -> list[str]:
    """The text of every process, by process; all must call it."""
    if jax.process_count() == 1:
        return [text]
    own = text.encode()
    lengths = np.ravel(multihost_utils.process_allgather(np.int32(len(own))))
    padded = np.frombuffer(own.ljust(max(int(lengths.max()), 1), b"\0"), np.uint8)
    rows = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(lengths), -1)
    return [row[:length].tobytes().decode() for row, length in zip(rows, lengths.tolist(), strict=True)]


def together(action: Callable[[], T]) -> T:
    """What `action` gives in this process; where it raises a UserError in any, all raise a SharedError."""
    if jax.process_count() == 1:
        return action()
    result, complaint = None, ""
    try:
        result = action()
    except UserError as error:
        complaint = f"{name()}: {error}"
    complaints = [text for text in exchange(complaint) if text]
    if complaints:
        sentences = {text.partition(": ")[2] for text in complaints}
        raise SharedError(complaints[0] if len(complaints) < jax.process_count() else min(sentences))
    return result  # type: ignore[return-value]: no complaint, so it is there


def from_first(action: Callable[[], str]) -> str:
    """What `action` gives in process 0, where alone it runs, broadcast to all."""
    return exchange(action() if is_first() else "")[0]


def total(counts: np.ndarray) -> np.ndarray:
    """The sum over all processes of int64 counts, exact; all must call it."""
    if jax.process_count() == 1:
        return counts
    parts = np.ascontiguousarray(counts, np.int64).view(np.uint32)  # JAX has no int64 by default
    rows = np.asarray(multihost_utils.process_allgather(parts)).reshape(jax.process_count(), *parts.shape)
    return sum(np.ascontiguousarray(row).view(np.int64) for row in rows)  # type: ignore[return-value]
