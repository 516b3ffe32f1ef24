"""What a run comes to: test scores of its best and last checkpoints, and the quality of its corrected labels."""

import jax
import numpy as np
import orbax.checkpoint as ocp

from ltpml_jax import checkpoints, evaluation, report
from ltpml_jax.data import loaders
from ltpml_jax.evaluation import Scores
from ltpml_jax.setup import Run, open_checkpoint
from ltpml_jax.state import TrainState


def conclude(this: Run, manager: ocp.CheckpointManager) -> dict[str, Scores]:
    """Print the run's table and write results.json, which only a finished run has; returns the table's scores."""
    results, quality = show(this, manager)
    config = this.config
    facts = {"candidates": this.setting.digest, "partial_rate": config.data.partial_rate, "seed": config.seed}
    report.save(this.workdir, results, quality, facts)
    return results


def show(this: Run, manager: ocp.CheckpointManager) -> tuple[dict[str, Scores], Scores | None]:
    """Evaluate the run's checkpoints and print the table; returns what `assess` does."""
    results, quality = assess(this, manager)
    setting, config = this.setting, this.config
    title = (
        f"{config.method.name} ({config.method.priors}) on {setting.dataset.name}, partial rate "
        f"{config.data.partial_rate:g}: {len(setting.dataset.test.labels)} test images, percent"
    )
    print(report.table(title, results, quality), flush=True)
    return results, quality


def assess(this: Run, manager: ocp.CheckpointManager) -> tuple[dict[str, Scores], Scores | None]:
    """Scores of the last and, where it is another, the best checkpoint; label quality of the last."""
    last, best = checkpoints.newest(manager), manager.best_step()
    state = open_checkpoint(this, manager, last).state
    results = {_name("last", last, this): test_scores(this, state)}
    quality = corrected_labels(this, state)
    if best is not None and best != last:
        state = open_checkpoint(this, manager, best).state
        results[_name("best", best, this)] = test_scores(this, state)
    return results, quality


def test_scores(this: Run, state: TrainState) -> Scores:
    """Scores on the clean labels of the test split; class groups by the true training counts."""
    dataset = this.setting.dataset
    batches = loaders.test_batches(this.config, this.setting, this.mesh.size)
    logits = evaluation.predict_all(this.predict, state.params, state.rest, batches)
    return evaluation.scores(logits, dataset.test.labels, dataset.train.labels.sum(0))


def corrected_labels(this: Run, state: TrainState) -> Scores | None:
    """Quality of the method's pseudo labels on the training images; None for a method that keeps none."""
    if this.method.beliefs is None:
        return None
    rows = len(this.setting.train)
    soft, hard = jax.tree.map(lambda table: np.asarray(table)[:rows], jax.jit(this.method.beliefs)(state.method))
    truth = this.setting.dataset.train.labels[this.setting.train]
    return evaluation.label_quality(soft, hard, truth, this.setting.served)


def _name(which: str, step: int, this: Run) -> str:
    return f"{which} (epoch {step / this.setting.steps_per_epoch:g})"
