"""A run's headline prediction as StableHLO, which JAX runs without this package: model.jaxexport."""

import jax
import numpy as np
from jax import export

from ltpml_jax.exporting.exported_run import Exportable

PLATFORMS = ("cpu", "cuda", "tpu")


def serialise(run: Exportable) -> bytes:
    """The serialised function from images uint8 [b, S, S, 3], any b, to logits float32 [b, C], weights within.

    It can be differentiated no more. Names of source files are left out: they would differ from machine to machine.
    """
    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, run.size, run.size, 3), np.uint8)
    limit = jax.config.jax_traceback_in_locations_limit  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        return bytes(export.export(jax.jit(run.logits), platforms=PLATFORMS)(images).serialize())
    finally:
        jax.config.update("jax_traceback_in_locations_limit", limit)
