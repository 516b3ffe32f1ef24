"""The network of a run, rebuilt from its config and a checkpoint, without the dataset that it was trained on."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from jax.sharding import Mesh

from ltpml_jax.config import CUSTOM, build_method
from ltpml_jax.data.task import make_task
from ltpml_jax.errors import UserError
from ltpml_jax.evaluation import model_file
from ltpml_jax.experiment import build_network
from ltpml_jax.methods.base import Method
from ltpml_jax.methods.priors import Prior
from ltpml_jax.methods.settings import Config
from ltpml_jax.models import classifier
from ltpml_jax.runtime import checkpoints
from ltpml_jax.state import everywhere
from ltpml_jax.step import Predict, jit_predict
from ltpml_jax.workdir import check_checkpoint

CHECKPOINTS = ("last", "best")


class TrainedNetwork(NamedTuple):
    """class_names: C names; weights: what is evaluated, the average where one is kept; rest: frozen ones, statistics.

    predict: (weights, rest, images uint8 [B, H, W, 3]) -> logits float32 [B, C] by prediction, the headline first;
    step: of the checkpoint. `nnx.merge(graphdef, weights, rest)` is the network as an object.
    """

    class_names: tuple[str, ...]
    method: Method
    graphdef: nnx.GraphDef[Any]
    weights: Any
    rest: Any
    predict: Predict
    step: int


def load_network(
    config: Config, workdir: Path, mesh: Mesh, checkpoint: str = "last", method: Method | None = None
) -> TrainedNetwork:
    """The network of a run in its checkpoint `last` or `best`, replicated over a mesh.

    Classes come from model.json; a run of an earlier version, which has none, needs its dataset for them.

    Raises UserError where there is no such checkpoint, it is damaged, or of another run, and for a custom method that
    is not handed in.
    """
    method = method or build_method(config)
    if method is None:
        raise UserError(
            f"config.method.name is {CUSTOM!r}: the method is not in this package; hand it to ltpml_jax.open_run as "
            "method=."
        )
    names, prior, candidates = _described(config, workdir)
    parts = build_network(config, method, len(names), prior, "none")
    with checkpoints.open_manager(workdir, read_only=True) as manager:
        step = _step(manager, checkpoint)
        weights, rest = _restore(config, manager, step, parts, mesh, candidates)
    predict = jit_predict(classifier.make_forward(parts.graphdef), method, mesh)
    return TrainedNetwork(names, method, parts.graphdef, weights, rest, predict, step)


def _described(config: Config, workdir: Path) -> tuple[tuple[str, ...], Prior, str]:
    """Class names, what a network may know of the classes, and the sha256 of the candidate sets."""
    if not (workdir / model_file.FILE).exists():
        task = make_task(config)
        return task.dataset.class_names, task.prior, task.digest
    found = model_file.load(workdir)
    data = found.record["dataset"]
    size = np.asarray(data["training_images"], np.float32)
    # A network that was built with more than counts keeps what it made of it among its own arrays.
    return found.class_names, Prior(found.class_counts.astype(np.float32), size), data["candidates_sha256"]


def _step(manager: ocp.CheckpointManager, checkpoint: str) -> int:
    if checkpoint not in CHECKPOINTS:
        raise UserError(f"The checkpoint is {checkpoint!r}; choose one of {', '.join(CHECKPOINTS)}.")
    last = checkpoints.newest(manager)
    if checkpoint == "last":
        return last
    best = manager.best_step()
    if best is None:
        raise UserError(f"No checkpoint in {manager.directory} was judged on held-out images; take the last one.")
    return best


def _restore(
    config: Config, manager: ocp.CheckpointManager, step: int, parts: classifier.Parts, mesh: Mesh, candidates: str
) -> tuple[Any, Any]:
    """The weights that are evaluated, and the rest."""
    averaged = bool(config.optim.ema)
    wanted = {"average" if averaged else "params": parts.trainable, "rest": parts.rest}
    place = f"{manager.directory}/{step}"

    def check(identity: checkpoints.Identity) -> None:
        check_checkpoint(identity["config"], config, place)
        if identity["candidates"] != candidates:
            raise UserError(
                f"The checkpoint {place} was trained on other candidate sets than {model_file.FILE} names; "
                f"{model_file.MAKE.format(Path(manager.directory).parent)}."
            )

    found = checkpoints.restore_parts(manager, step, wanted, everywhere(mesh), check)
    return found.state["average" if averaged else "params"], found.state["rest"]
