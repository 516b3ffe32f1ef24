"""Writes shards in worker processes, with a progress bar, and resumes where a killed run was."""

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from tqdm import tqdm

from ltpml_jax.data.locations import measure
from ltpml_jax.data.writing import shards
from ltpml_jax.data.writing.shards import Fault, Shard
from ltpml_jax.errors import UserError
from ltpml_jax.runtime.files import write_atomic

log = logging.getLogger(__name__)


def write_all(wanted: list[Shard], folder: Path, keys: Path, jobs: int) -> dict[str, list[Fault]]:
    """Writes the shards that `folder` does not hold already; the faults of their images by split.

    `keys` is a folder of receipts: which shards are whole, and of what they were made.

    Raises:
        OSError: the folder cannot be written.
        UserError: a worker was killed.
    """
    open_ones = [shard for shard in wanted if not _is_whole(shard, folder, keys)]
    total = sum(len(shard.ids) for shard in wanted)
    done = total - sum(len(shard.ids) for shard in open_ones)
    faults: dict[str, list[Fault]] = {}
    started = time.monotonic()
    log.info("Checking and writing %d images; %d are written already", total, done)
    try:
        # tqdm draws on standard error, and where that is no terminal, nothing.
        with tqdm(total=total, initial=done, unit="image", disable=None) as bar:
            for shard, found in _results(open_ones, folder, keys, jobs):
                faults.setdefault(shard.split, []).extend(found)
                bar.update(len(shard.ids))
    except BrokenProcessPool as error:
        raise UserError(
            "A worker process was killed, perhaps for want of memory; give fewer --jobs, and the same command resumes."
        ) from error
    took = time.monotonic() - started
    log.info("Went through %d images in %.1f s (%.0f a second)", total - done, took, (total - done) / max(took, 1e-9))
    return {split: sorted(found) for split, found in faults.items() if found}


def _is_whole(shard: Shard, folder: Path, keys: Path) -> bool:
    try:
        receipt = (keys / shard.name).read_text(encoding="utf-8")
    except OSError:
        return False
    return receipt == _receipt(shard, folder)


def _receipt(shard: Shard, folder: Path) -> str:
    return f"{shard.key()} {measure(folder / shard.name).size}"


def _write_one(shard: Shard, folder: Path, keys: Path) -> list[Fault]:
    """Writes a shard, then its receipt; killed in between, it is written again."""
    (keys / shard.name).unlink(missing_ok=True)  # that of another plan
    faults = shards.write(shard, folder)
    if not faults:
        write_atomic(keys / shard.name, _receipt(shard, folder))
    return faults


def _results(wanted: list[Shard], folder: Path, keys: Path, jobs: int) -> Iterator[tuple[Shard, list[Fault]]]:
    """Each shard with its faults, as they are done."""
    if min(jobs, len(wanted)) <= 1:
        for shard in wanted:
            yield shard, _write_one(shard, folder, keys)
        return
    # Processes are spawned: a forked one would share our lock on the folder, and the threads of libraries.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(jobs, len(wanted)), context, _begin_worker)
    with contextlib.ExitStack() as stack:
        stack.callback(pool.shutdown, cancel_futures=True)
        waiting = {pool.submit(_write_one, shard, folder, keys): shard for shard in wanted}
        for future in as_completed(waiting):
            yield waiting[future], future.result()


def _begin_worker() -> None:
    """Leaves interrupts to the parent, and ends with it however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
