"""Long-tailed partial multi-label learning in JAX: NDLP and the systems it is compared with.

The notebook's door; a name is imported when it is first used, so that `import ltpml_jax` costs next to nothing:

    config = ltpml_jax.default_config()      every field at its default (docs/config.md)
    ltpml_jax.train(config, "runs/mine")     train or resume, and evaluate; method= trains a Method of one's own
    run = ltpml_jax.open_run("runs/mine")    predict on files or arrays, test scores, beliefs, config, export
    ltpml_jax.audit_runs(["runs/mine"], "audit")     the labels to distrust, as files and as a page
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ltpml_jax.audit.audited import audit_runs
    from ltpml_jax.config import default_config
    from ltpml_jax.evaluation.opened import open_run
    from ltpml_jax.methods.all_methods import METHODS
    from ltpml_jax.methods.base import Method
    from ltpml_jax.trainer import train

__version__ = "0.1.0"
__all__ = ["METHODS", "Method", "audit_runs", "default_config", "open_run", "train"]
_HOME = {
    "audit_runs": "ltpml_jax.audit.audited",
    "default_config": "ltpml_jax.config",
    "METHODS": "ltpml_jax.methods.all_methods",
    "Method": "ltpml_jax.methods.base",
    "open_run": "ltpml_jax.evaluation.opened",
    "train": "ltpml_jax.trainer",
}


def __getattr__(name: str) -> Any:
    """The public name, imported on first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted([*globals(), *__all__])
