"""Micro and macro F1 of runs on their test images at 0.5 and at the expected thresholds.

python -m benchmarks.thresholds WORKDIR...    (finished runs; nothing else is read)
"""

import argparse
from pathlib import Path

import numpy as np

from ltpml_jax.evaluation import expected_thresholds, model_file, predictions_file
from ltpml_jax.evaluation.metrics import Scores, scores
from ltpml_jax.evaluation.prediction import read_rows


def measure(workdir: Path) -> dict[str, Scores]:
    """Scores of the headline by rule, in percent."""
    kept, model = predictions_file.load(workdir), model_file.load(workdir)
    values, _ = expected_thresholds.load(workdir)
    limits = np.clip([values[name] for name in model.class_names], 1e-6, 1 - 1e-6)
    logits = next(iter(kept.logits.values()))
    read = read_rows(logits)
    logits, states = logits[read].astype(np.float64), kept.states[read]
    shifts = {"0.5": np.zeros(len(limits)), "expected": np.log(limits / (1 - limits))}
    return {rule: scores(logits - shift, states, model.groups) for rule, shift in shifts.items()}


def main() -> None:
    """Print a line for each run and rule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdirs", nargs="+", type=Path)
    for workdir in parser.parse_args().workdirs:
        model = model_file.load(workdir).record
        rate = model["candidates"]["parameters"].get("rate")
        for rule, found in measure(workdir).items():
            print(f"| {model['method']} | {rate} | {rule} | {found['micro_F1']:.1f} | {found['macro_F1']:.1f} |")


if __name__ == "__main__":
    main()
