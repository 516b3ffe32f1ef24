"""Whether two runs came to the same, bit for bit."""

from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding


def assert_same(workdir: Path, expected: Path) -> None:
    for name in ("metrics.jsonl", "results.json", "config.json", "model.json", "predictions-test.npz"):
        assert (workdir / name).read_bytes() == (expected / name).read_bytes(), name
    steps = sorted(path.name for path in (expected / "checkpoints").iterdir())
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == steps
    for step in steps:
        mine, theirs = (leaves(folder / "checkpoints" / step) for folder in (workdir, expected))
        assert mine.keys() == theirs.keys() and {"['step']", "['key']"} < mine.keys()
        for name in mine:
            assert mine[name].dtype == theirs[name].dtype
            np.testing.assert_array_equal(mine[name], theirs[name], err_msg=f"{step} {name}")


def leaves(folder: Path) -> dict[str, np.ndarray]:
    """All arrays, also those that another number of devices saved."""
    here = SingleDeviceSharding(jax.devices()[0])
    with ocp.StandardCheckpointer() as reader:
        saved = reader.metadata(folder / "state").item_metadata.tree
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), saved)
        tree = reader.restore(folder / "state", shapes)
    found = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in found}
