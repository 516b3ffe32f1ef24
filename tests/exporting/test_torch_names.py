"""What follows the pooling in one linear layer, and torchvision's names; torch itself: test_torch_consumers.py."""

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors import safe_open
from safetensors.numpy import load

from ltpml_jax.exporting import torch_names
from ltpml_jax.models import pretrained
from ltpml_jax.models.classifier import Classifier, Neck
from ltpml_jax.photometric import normalise
from tests.helpers import exportables
from tests.helpers.exportables import difference, exportable, thin

pytestmark = pytest.mark.usefixtures("least_optimised")


def form_of(run) -> torch_names.LinearOnPooled:
    form = torch_names.linear_form(run.model, run.headline)
    assert form is not None
    return form


def test_folding_by_hand():
    """One feature, one neck unit, one class: 5 * ((2 x + 1 - 3) / 2 * 4 + 0.5) - 1 = 20 x - 18.5."""
    neck = Neck(1, 1, 0.0, nnx.Rngs(0))
    head = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
    norm = neck.norm
    values = [(neck.linear.kernel, 2), (norm.mean, 3), (norm.var, 4 - 1e-5), (norm.scale, 4), (norm.bias, 0.5)]
    values += [(neck.linear.bias, 1), (head.kernel, 5), (head.bias, -1)]
    for variable, value in values:
        variable[...] = np.full(variable.shape, value, np.float32)
    weight, bias = torch_names.fold(Classifier(thin().model.backbone, neck, head))
    np.testing.assert_allclose(weight, [[20]], rtol=1e-7)
    np.testing.assert_allclose(bias, [-18.5], rtol=1e-7)
    assert weight.dtype == bias.dtype == np.float64


RUNS = {
    "resnet_small": lambda: exportable(),
    "bottlenecks": lambda: thin(),
    "noise_model without branch": lambda: exportable(method__name="noise_model", noise__branch=0.0),
    "lws": lambda: exportable(method__name="lws", model__start_from=""),
    "bfloat16": lambda: exportable(model__dtype="bfloat16"),
}


@pytest.mark.parametrize("name", RUNS)
def test_the_folded_layer_on_pooled_features_gives_the_logits_of_the_run(name):
    run = RUNS[name]()
    if name == "lws":
        run.model.scale[...] = np.linspace(0.5, 2, 6, dtype=np.float32)
    form, images = form_of(run), exportables.pixels(3, run.size)
    features = jax.jit(lambda x: form.backbone(normalise(x), train=False, mask=None))(images)
    found = np.asarray(features, np.float64).mean((1, 2)) @ form.weight.T + form.bias
    logits = jax.jit(run.logits)(images)
    assert logits.dtype == np.float32 and difference(found, logits) < 1e-6


@pytest.mark.parametrize("method", ["noise_model", "coteaching", "comic"])
def test_what_is_not_one_linear_layer_on_one_network_has_no_such_form(method):
    run = exportable(method__name=method)
    assert torch_names.linear_form(run.model, run.headline) is None


def test_another_headline_than_the_logits_has_no_such_form():
    assert torch_names.linear_form(exportable().model, lambda logits: 2 * logits) is None


def test_the_state_dict_is_named_and_laid_out_as_torchs():
    run = thin()
    form = form_of(run)
    found = torch_names.state_dict(form)
    assert found["conv1.weight"].shape == (8, 3, 7, 7) and found["fc.weight"].shape == (6, 40)
    assert found["layer1.0.downsample.1.running_var"].shape == (16,)
    np.testing.assert_array_equal(found["conv1.weight"][5, 1, 2, 3], form.backbone.conv1.kernel[...][2, 3, 1, 5])
    counters = [name for name in found if name.endswith("num_batches_tracked")]
    means = [name for name in found if name.endswith("running_mean")]
    assert len(counters) == len(means) == 1 + 5 * 3 + 4
    assert all(found[name].shape == () and found[name].dtype == np.int64 for name in counters)
    assert {str(array.dtype) for name, array in found.items() if name not in counters} == {"float32"}


def test_another_run_starts_from_the_file(tmp_path):
    """The backbone comes back bit for bit through `load_backbone`, which leaves the classifier out."""
    run = thin()
    path = tmp_path / "model.safetensors"
    path.write_bytes(torch_names.safetensors(form_of(run), "resnet50"))
    with safe_open(path, "numpy") as file:
        assert file.metadata() == {"format": "pt"}
    other = nnx.clone(run.model)
    for leaf in pretrained.leaves(other.backbone).values():
        leaf.set_value(jax.device_put(np.zeros(leaf.shape, np.float32)))
    pretrained.load_backbone(other, path)
    expected = pretrained.leaves(run.model.backbone)
    for name, leaf in pretrained.leaves(other.backbone).items():
        np.testing.assert_array_equal(leaf[...], expected[name][...])


def test_the_small_backbone_keeps_the_names_of_this_package():
    form = form_of(exportable())
    found = load(torch_names.safetensors(form, "resnet_small"))
    assert found.keys() == {*pretrained.leaves(form.backbone), "fc.kernel", "fc.bias"}
    np.testing.assert_array_equal(found["fc.kernel"], form.weight.T.astype(np.float32))
    assert found["conv1.kernel"].shape == (3, 3, 3, 16)
