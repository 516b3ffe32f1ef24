"""Backbones: parameter counts and names of torchvision, geometry, and whole networks against plain numpy."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ltpml_jax.models import classifier, resnet
from tests.helpers import weights
from tests.models.test_layers import FAST, PLAIN, numpy_conv, randomise

pytestmark = pytest.mark.usefixtures("least_optimised", "numpy_weights")

SPEC = classifier.ModelSpec("resnet_small", 64, 0.0, 1, "stored", "float32", True, True)
TORCHVISION = {  # parameters without the fully connected layer; convolutions
    "resnet18": (11_176_512, 20),
    "resnet34": (21_284_672, 36),
    "resnet50": (23_508_032, 53),
    "resnet101": (42_500_160, 104),
}


_abstract = functools.cache(classifier.abstract_backbone)  # nothing may change them


def _sizes(model: nnx.Module) -> dict[str, tuple[int, ...]]:
    return {".".join(map(str, path)): leaf.shape for path, leaf in nnx.to_flat_state(nnx.state(model))}


def _numpy_unit(x: np.ndarray, conv: nnx.Conv, norm: nnx.BatchNorm, stride: int) -> np.ndarray:
    assert norm.scale is not None and norm.bias is not None
    gain = np.asarray(norm.scale[...]) / np.sqrt(np.asarray(norm.var[...]) + 1e-5)
    y = numpy_conv(x, np.asarray(conv.kernel[...]), stride)
    return (y - np.asarray(norm.mean[...])) * gain + np.asarray(norm.bias[...])


@pytest.mark.parametrize("name", TORCHVISION)
def test_counts_are_torchvisions(name: str) -> None:
    model, (parameters, convolutions) = _abstract(name), TORCHVISION[name]
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))) == parameters
    assert len(_sizes(model)) == 5 * convolutions  # kernel; scale, bias, mean, var


def test_names_are_torchvisions() -> None:
    sizes = _sizes(_abstract("resnet50"))
    assert sizes["conv1.kernel"] == (7, 7, 3, 64)
    assert sizes["layer1.0.downsample.0.kernel"] == (1, 1, 64, 256)
    assert sizes["layer2.0.downsample.1.var"] == (512,)
    assert sizes["layer3.5.conv2.kernel"] == (3, 3, 256, 256)
    assert sizes["layer4.2.bn3.mean"] == (2048,)
    assert "layer1.1.downsample.0.kernel" not in sizes
    assert "layer1.0.downsample.0.kernel" not in _sizes(_abstract("resnet18"))


def test_small_backbone_is_below_a_megabyte() -> None:
    sizes = _sizes(_abstract("resnet_small"))
    assert 4 * sum(np.prod(shape) for shape in sizes.values()) < 1e6
    assert [sizes[f"layer{k}.0.conv2.kernel"][3] for k in (1, 2, 3, 4)] == [16, 32, 64, 96]


@pytest.mark.parametrize(
    "name,shape,want",  # by hand: floor((n + 2 pad - size) / stride) + 1 at every step
    [
        ("resnet50", (97, 131), (4, 5, 2048)),
        ("resnet18", (224, 224), (7, 7, 512)),
        ("resnet18", (65, 96), (3, 3, 512)),
        ("resnet_small", (97, 131), (7, 9, 96)),
        ("resnet_small", (48, 64), (3, 4, 96)),
    ],
)
def test_output_geometry(name: str, shape: tuple[int, int], want: tuple[int, int, int]) -> None:
    graphdef, state = nnx.split(_abstract(name))
    images = jax.ShapeDtypeStruct((2, *shape, 3), jnp.float32)
    features = jax.eval_shape(lambda s, x: nnx.merge(graphdef, s)(x, train=False, mask=None), state, images)
    assert features.shape == (2, *want)
    stride = resnet.ARCHITECTURES[name].stride
    assert tuple(-(-side // stride) for side in shape) == want[:2]


@pytest.mark.parametrize("stride", [1, 2])
def test_bottleneck_equals_numpy_with_the_stride_on_the_3x3(stride: int) -> None:
    graphdef, shapes = nnx.split(nnx.eval_shape(lambda: resnet.Bottleneck(6, 4, stride, nnx.Rngs(0))))
    block = nnx.merge(graphdef, weights.filled(shapes, 0))
    randomise(block, 1)
    x = np.random.default_rng(2).normal(size=(2, 7, 10, 6)).astype(np.float32)
    y = np.maximum(_numpy_unit(x, block.conv1, block.bn1, 1), 0)
    y = np.maximum(_numpy_unit(y, block.conv2, block.bn2, stride), 0)
    y = _numpy_unit(y, block.conv3, block.bn3, 1)
    assert block.downsample is not None
    want = np.maximum(y + _numpy_unit(x, block.downsample[0], block.downsample[1], stride), 0)
    for compute in (PLAIN, FAST):
        got = nnx.jit(lambda block, x, compute=compute: block(x, compute, None))(block, jnp.asarray(x))
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_small_backbone_equals_numpy() -> None:
    model = classifier.build(SPEC, 20, 0).backbone
    randomise(model, 1)
    images = np.random.default_rng(2).normal(size=(2, 21, 30, 3)).astype(np.float32)
    x = np.maximum(_numpy_unit(images, model.conv1, model.bn1, 2), 0)
    stages = (model.layer1, 1), (model.layer2, 2), (model.layer3, 2), (model.layer4, 2)
    for block, stride in ((stage[0], stride) for stage, stride in stages):
        y = np.maximum(_numpy_unit(x, block.conv1, block.bn1, stride), 0)
        y = _numpy_unit(y, block.conv2, block.bn2, 1)
        kept = x if block.downsample is None else _numpy_unit(x, block.downsample[0], block.downsample[1], stride)
        x = np.maximum(y + kept, 0)
    got = nnx.jit(lambda model, images: model(images, train=True, mask=None))(model, jnp.asarray(images))
    np.testing.assert_allclose(got, x, rtol=1e-3, atol=1e-4)


def test_batch_statistics_update_live_stages_in_training_only() -> None:
    spec = dataclasses.replace(SPEC, backbone_norm="batch", frozen_stages=2)
    model = classifier.build(spec, 20, 0).backbone
    stats = nnx.to_flat_state(nnx.state(model, nnx.BatchStat))
    before = {path: np.asarray(leaf[...]) for path, leaf in stats}
    images = jnp.asarray(np.random.default_rng(0).normal(size=(4, 32, 32, 3)), jnp.float32)
    for train in (False, True):
        nnx.jit(lambda model, x, train=train: model(x, train=train, mask=None))(model, images)
        after = nnx.to_flat_state(nnx.state(model, nnx.BatchStat))
        changed = {path[0] for path, leaf in after if not np.array_equal(leaf[...], before[path])}
        assert changed == ({"layer3", "layer4"} if train else set())


def test_frozen_prefixes() -> None:
    assert resnet.frozen_prefixes(0) == set()
    assert resnet.frozen_prefixes(2) == {"conv1", "bn1", "layer1", "layer2"}
