"""Checkpoints by Orbax: the two newest and the best; each is whole or not there at all.

A checkpoint is the training state, the iterator's position, and what identifies its run. Orbax writes into a
temporary folder and renames it when it is complete, so a process killed while saving leaves the one before.
"""

import itertools
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from jax.sharding import Sharding, SingleDeviceSharding
from orbax.checkpoint import checkpoint_managers as policies

from ltpml_jax.errors import UserError
from ltpml_jax.runtime import checksums, processes, watchdog
from ltpml_jax.runtime.files import writing

log = logging.getLogger(__name__)
FOLDER = "checkpoints"
SCORE = "validation_mAP"
# Words in the errors of a file system, as against those of a run that has lost a process while all save.
_OF_FILES = (
    "No space left",
    "quota",
    "ermission denied",
    "Read-only",
    "Input/output error",
    "File too large",
    "[Errno",
)
DUMPS = "not_finite"  # folder of the states and batches of steps that were not applied


class DamagedError(UserError):
    """A checkpoint cannot be read; `what` is the sentence without the remedy."""

    def __init__(self, what: str, remedy: str) -> None:
        """Makes the error; `what` and `remedy` are clauses, and `what` may end as a sentence does."""
        super().__init__(f"{what.removesuffix('.')}; {remedy}.")
        self.what = f"{what.removesuffix('.')}."


Identity = dict[str, Any]  # what a checkpoint's run is recognised by


class Restored(NamedTuple):
    """A checkpoint's state (a pytree as it was saved), iterator state and identity."""

    state: Any
    iterator: dict[str, Any]
    identity: Identity


def open_manager(workdir: Path, read_only: bool = False) -> ocp.CheckpointManager:
    """The manager of a run's checkpoints; UserError where there are none to read.

    Orbax reads the scores of all checkpoints first. One with a damaged score is set aside, with a warning, or, where
    nothing may be written, a DamagedError.
    """
    folder = (workdir / FOLDER).resolve()
    if read_only and not folder.is_dir():
        raise UserError(f"There are no checkpoints in {workdir}; give the --workdir of a run that has saved one.")
    for place in json.loads(processes.from_first(lambda: json.dumps(_without_score(folder)))):
        what = f"The score of the checkpoint {place} (metrics/metrics) cannot be read"
        if read_only:
            raise DamagedError(what, "remove that folder to use the other checkpoints, if there are any")
        log.warning("WARNING: %s. It is now %s.", what, processes.from_first(lambda at=place: str(_move(Path(at)))))
    options = ocp.CheckpointManagerOptions(
        preservation_policy=policies.AnyPreservationPolicy([
            policies.LatestN(2),
            policies.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False),
        ]),
        best_fn=_score,
        keep_checkpoints_without_metrics=True,
        # The step donates its buffers: on CPU an asynchronous save could read them after that.
        enable_async_checkpointing=False,
        cleanup_tmp_directories=not read_only,
        read_only=read_only,
    )  # fmt: skip
    return ocp.CheckpointManager(folder, options=options)


def _without_score(folder: Path) -> list[str]:
    """The checkpoints in a folder whose file of scores is there and damaged."""
    found = []
    for path in sorted(folder.glob("[0-9]*/metrics/metrics")):
        try:
            content = json.loads(path.read_bytes())
            whole = content is None or isinstance(content[SCORE], int | float)
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            whole = False
        if not whole:
            found.append(str(path.parents[1]))
    return found


def newest(manager: ocp.CheckpointManager) -> int:
    """The newest step that is saved to its end; UserError where there is none."""
    steps = [step for step in manager.all_steps() if checksums.sealed(_folder(manager, step))]
    if not steps:
        raise UserError(f"There is no checkpoint in {manager.directory} yet; train until the first one is saved.")
    return max(steps)


def clear_unfinished(manager: ocp.CheckpointManager) -> dict[int, Path]:
    """Set checkpoints aside that a killed run has not saved to their end; where they are now, by step."""
    steps = manager.all_steps()
    unfinished = processes.from_first(
        lambda: " ".join(str(step) for step in steps if not checksums.sealed(_folder(manager, step)))
    )
    return {int(step): set_aside(manager, int(step)) for step in unfinished.split()}


def _folder(manager: ocp.CheckpointManager, step: int) -> Path:
    return Path(manager.directory) / str(step)


def save(manager: ocp.CheckpointManager, state: Any, iterator: dict, identity: dict, score: float | None) -> None:
    """Save a state, which has a scalar `step`, at that step; `score` (higher is better) ranks it, None does not.

    Raises UserError where it cannot be written (a full disk); checkpoints before it stay as they are.
    """
    step, metrics = int(state.step), None if score is None else {SCORE: score}
    _write(
        manager, step, {"state": ocp.args.StandardSave(state)}, {"iterator": iterator, "identity": identity}, metrics
    )
    watchdog.beat(f"checkpoint of step {step}")


def _write(manager: ocp.CheckpointManager, step: int, trees: dict, texts: dict, metrics: dict | None) -> None:
    parts = trees | {name: ocp.args.JsonSave(value) for name, value in texts.items()}
    try:
        manager.save(step, args=ocp.args.Composite(**parts), metrics=metrics, force=True)
        checksums.seal(_folder(manager, step))
    except Exception as error:  # Orbax, tensorstore, JAX and gloo raise many kinds
        known = isinstance(error, UserError)  # of the checksums, in all processes
        if not known and jax.process_count() > 1 and not any(sign in str(error) for sign in _OF_FILES):
            raise  # of a barrier, or of a collective: another process is gone
        cause = (str(error) if known else f"{type(error).__name__}: {error}").splitlines()[0][:200]
        raise (type(error) if known else UserError)(
            f"The checkpoint of step {step} cannot be saved in {manager.directory} ({cause}); make room or "
            "fix that, and the same command resumes from the checkpoint before it."
        ) from error


def dump(workdir: Path, step: int, state: Any, batch: dict, identity: dict) -> Path:
    """Save what explains a step that was not applied: the state, and what its batch was; the two newest stay.

    The state is the newest one, up to two steps later, as its own `step` shows. Raises UserError as `save`.
    """
    folder = (workdir / DUMPS).resolve()
    options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
    with ocp.CheckpointManager(folder, options=options) as manager:
        if step not in manager.all_steps():  # a resumed run comes to the same step again
            _write(manager, step, {"state": ocp.args.StandardSave(state)}, {"batch": batch, "identity": identity}, None)
    return folder / str(step)


def set_aside(manager: ocp.CheckpointManager, step: int) -> Path:
    """Move a step's folder out of the manager's sight, so that the step can be saved again; returns where it is."""
    place = Path(processes.from_first(lambda: str(_move(_folder(manager, step)))))
    manager.reload()
    return place


def _move(folder: Path) -> Path:
    home = folder.parents[1] / "damaged"
    with writing(home):
        home.mkdir(exist_ok=True)
        place = next(place for number in itertools.count() if not (place := home / f"{folder.name}.{number}").exists())
        return folder.rename(place)


def restore(
    manager: ocp.CheckpointManager,
    step: int,
    shapes: Any,
    shardings: Any,
    check: Callable[[Identity], None] = lambda identity: None,
) -> Restored:
    """Restore a step onto `shardings` (None: everything on the first device, whatever devices saved it).

    shapes: the state's pytree of ShapeDtypeStructs; check: raises UserError where the identity, which is read before
    the state, is that of another run. DamagedError where the folder does not hold such a state.
    """
    if shardings is None:
        one = SingleDeviceSharding(jax.devices()[0])
        shardings = jax.tree.map(lambda _: one, shapes)
    wanted = jax.tree.map(_laid_out, shapes, shardings)
    restored = _restore(manager, step, ocp.args.StandardRestore(wanted), check)  # type: ignore[call-arg]
    if int(restored.state.step) != step:  # a folder that was copied or renamed
        raise _damaged(manager, step, f"it holds step {int(restored.state.step)}")
    return restored


def restore_parts(
    manager: ocp.CheckpointManager,
    step: int,
    parts: dict[str, Any],
    sharding: Sharding,
    check: Callable[[Identity], None],
) -> Restored:
    """Restore some fields of a step's state, by name, onto one sharding; nothing else of its arrays is read.

    parts: pytrees of arrays or ShapeDtypeStructs; check and errors as of `restore`.
    """
    wanted = jax.tree.map(lambda leaf: _laid_out(leaf, sharding), parts)
    arguments = ocp.checkpoint_utils.construct_restore_args(wanted)
    some = ocp.args.PyTreeRestore(wanted, arguments, partial_restore=True)  # type: ignore[call-arg]
    return _restore(manager, step, some, check)


def _laid_out(leaf: Any, sharding: Sharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _restore(manager: ocp.CheckpointManager, step: int, state: Any, check: Callable[[Identity], None]) -> Restored:
    broken = checksums.broken(_folder(manager, step))
    if broken:
        raise _damaged(manager, step, broken)
    text = ocp.args.JsonRestore()  # type: ignore[call-arg]
    try:
        # The identity first: a state that does not fit is damaged only where it is that of this run.
        texts: Any = manager.restore(step, args=ocp.args.Composite(iterator=text, identity=text))
        check(texts.identity)
        got: Any = manager.restore(step, args=ocp.args.Composite(state=state))
    except UserError:
        raise
    except Exception as error:  # Orbax raises many kinds, for damage and for a foreign tree alike
        raise _damaged(manager, step, f"{type(error).__name__}: {error}".splitlines()[0][:200]) from error
    return Restored(got.state, texts.iterator, texts.identity)


def _damaged(manager: ocp.CheckpointManager, step: int, cause: str) -> DamagedError:
    others = [other for other in manager.all_steps() if other != step and checksums.sealed(_folder(manager, other))]
    remedy = f"remove that folder to use that of step {max(others)}" if others else "it is the only one, so train again"
    return DamagedError(
        f"The checkpoint {_folder(manager, step)} cannot be read as a state of this run ({cause})", remedy
    )


def _score(metrics: dict[str, float]) -> float:
    return metrics[SCORE]
