"""StableHLO, run by JAX without this package and without flax."""

import subprocess
import sys

import jax
import numpy as np
import pytest
from jax import export

from ltpml_jax.exporting import stablehlo
from tests.helpers import exportables, runs, session
from tests.helpers.exportables import difference, exportable, thin

pytestmark = pytest.mark.usefixtures("least_optimised")

RUNS = {
    "one classifier": thin,
    "two networks": lambda: exportable(method__name="coteaching", size=32),
    "two branches": lambda: exportable(method__name="noise_model", size=32),
    "three branches with attention": lambda: exportable(
        method__name="comic", size=32, comic__feature_width=16, comic__attention_width=16
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_every_headline_comes_out_for_any_batch(name):
    run = RUNS[name]()
    function = export.deserialize(bytearray(stablehlo.serialise(run)))
    assert function.platforms == ("cpu", "cuda", "tpu")
    for count in (1, 7) if run is thin() else (7,):
        images = exportables.pixels(count, run.size)
        found = function.call(images)
        assert found.shape == (count, 6) and difference(found, jax.jit(run.logits)(images)) < 1e-6


CONSUMER = """
import sys
sys.modules.update(dict.fromkeys(["flax", "ltpml_jax", "orbax", "safetensors"]))  # importing one of them now fails
import numpy as np
from jax import export
function = export.deserialize(bytearray(open("model.jaxexport", "rb").read()))
np.save("logits.npy", function.call(np.load("images.npy")))
"""


@pytest.mark.processes
def test_a_process_without_flax_and_this_package_runs_it(tmp_path):
    run, images = thin(), exportables.pixels(3, 40)
    (tmp_path / "model.jaxexport").write_bytes(stablehlo.serialise(run))
    np.save(tmp_path / "images.npy", images)
    subprocess.run([sys.executable, "-c", CONSUMER], cwd=tmp_path, env=runs.environment(), check=True, timeout=300)
    assert difference(np.load(tmp_path / "logits.npy"), jax.jit(run.logits)(images)) < 1e-6


def test_no_folder_of_this_machine_is_in_the_file():
    name, default = "jax_traceback_in_locations_limit", 10
    with session.configured(name, default):
        content = stablehlo.serialise(thin())
        assert b".py" not in content and str(runs.ROOT).encode() not in content
        assert jax.config.values[name] == default
