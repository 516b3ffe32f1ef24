"""Our ResNets against an independent PyTorch one, with its weights loaded from the files that torch writes.

Strict reading of the bounds: features and logits differ by less than 1e-4, absolutely, at a magnitude of 1 or more;
input gradients by less than 1e-3 of the largest one.

A ReLU whose input lies within rounding of zero is open in one implementation and closed in the other. Of the millions
in a ResNet-50 a few always do; each moves the gradients of some pixels by a percent of the largest or more, and PyTorch
in float32 is as far from itself in float64. So where gradients are compared, the inputs of ReLUs lie around +-MARGIN
standard deviations: thousands are on the other side of zero than their channel, none within rounding of it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ltpml_jax.models import classifier, pretrained

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")

CLASSES, BATCH, MARGIN = 20, 2, 4.0
SIZES = [(224, 224), (97, 131)]
SWITCHES = [(True, True), (True, False), (False, True), (False, False)]


class Basic(torch.nn.Module):
    """3x3, 3x3, shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(width)
        self.conv2 = torch.nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(width)
        self.downsample = _downsample(inputs, width, stride)

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(torch.nn.Module):
    """1x1, 3x3 with the stride, 1x1, shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(width)
        self.conv2 = torch.nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(width)
        self.conv3 = torch.nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = torch.nn.BatchNorm2d(4 * width)
        self.downsample = _downsample(inputs, 4 * width, stride)

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(torch.nn.Module):
    """Written from the description of torchvision's architecture, with torchvision's names."""

    def __init__(self, block: type[Basic] | type[Bottleneck], depths: tuple[int, ...]):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(64)
        self.maxpool = torch.nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for stage, depth in enumerate(depths):
            blocks, width = [], 64 * 2**stage
            for number in range(depth):
                blocks.append(block(inputs, width, 2 if stage and not number else 1))
                inputs = width * block.expansion
            setattr(self, f"layer{stage + 1}", torch.nn.Sequential(*blocks))
        self.fc = torch.nn.Linear(inputs, CLASSES)

    def features(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))


def _downsample(inputs: int, outputs: int, stride: int):
    if stride == 1 and inputs == outputs:
        return None
    return torch.nn.Sequential(torch.nn.Conv2d(inputs, outputs, 1, stride, bias=False), torch.nn.BatchNorm2d(outputs))


def _randomise(model, margin: float, images) -> None:
    """He weights, and random statistics near those that the images have, so that activations stay of order 1.

    A BatchNorm's bias is `margin` standard deviations of what it shifts, up in every other channel, down in the rest.
    """
    torch.manual_seed(0)
    norms = [part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for part in model.modules():
        if isinstance(part, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(part.weight)
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.25, 0.5)
        norm.bias.data = margin * norm.weight.data * torch.tensor([1.0, -1.0]).repeat(norm.num_features // 2)
        norm.momentum = None  # the plain mean over the batches that it saw
    with torch.no_grad():
        model.train()(images)
    for norm in norms:
        norm.running_mean += norm.running_var.sqrt() * torch.normal(0.0, 0.1, norm.running_mean.shape)
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.8, 1.25)
    torch.nn.init.normal_(model.fc.weight, 0.0, model.fc.in_features**-0.5)
    torch.nn.init.normal_(model.fc.bias)
    model.eval()


class Case(NamedTuple):
    """A torch model in evaluation mode and the two files with its state dict."""

    backbone: str
    model: ResNet
    files: tuple[Path, Path]


def _make(backbone: str, margin: float, folder: Path) -> Case:
    blocks = {"resnet18": (Basic, (2, 2, 2, 2)), "resnet50": (Bottleneck, (3, 4, 6, 3))}
    model, files = ResNet(*blocks[backbone]), (folder / "pretrained.pth", folder / "pretrained.safetensors")
    _randomise(model, margin, torch.from_numpy(_images((128, 160))).permute(0, 3, 1, 2))
    torch.save(model.state_dict(), files[0])
    safetensors_torch.save_file(model.state_dict(), files[1])
    return Case(backbone, model, files)


@pytest.fixture(scope="module", params=["resnet18", "resnet50"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return _make(request.param, MARGIN, tmp_path_factory.mktemp(request.param))


def _ours(case: Case, file: Path, switches: tuple[bool, bool]) -> classifier.Classifier:
    """Our classifier with the file's backbone; the neck is torch's fc, what follows the identity."""
    spec = classifier.ModelSpec(case.backbone, CLASSES, 0.0, 1, "stored", "float32", *switches)
    model, fc = classifier.build(spec, CLASSES, seed=1), case.model.fc
    pretrained.load_backbone(model, file)
    model.neck.linear.kernel[...] = jnp.asarray(fc.weight.detach().numpy().T)
    model.neck.linear.bias[...] = jnp.asarray(fc.bias.detach().numpy())  # pyright: ignore[reportOptionalSubscript]
    model.neck.norm.scale[...] = jnp.full(CLASSES, (1 + 1e-5) ** 0.5)  # pyright: ignore[reportOptionalSubscript]
    model.head.kernel[...] = jnp.eye(CLASSES)
    return model


def _theirs(call: Callable, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of torch's model and input gradients, for images and outputs of our layout [B, H, W, F]."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().requires_grad_()
    y = call(x)
    y = y.permute(0, 2, 3, 1) if y.ndim == 4 else y
    y.backward(torch.from_numpy(_cotangent(tuple(y.shape))))
    return y.detach().numpy(), x.grad.permute(0, 2, 3, 1).numpy()


def _run(call: Callable, model: classifier.Classifier, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of our model and input gradients."""
    graph, state = nnx.split(model)

    @jax.jit
    def both(state: nnx.State, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        value, pull = jax.vjp(lambda x: call(nnx.merge(graph, state), x), images)
        return value, pull(jnp.asarray(_cotangent(value.shape)))[0]

    value, gradient = both(state, jnp.asarray(images))
    return np.asarray(value), np.asarray(gradient)


def _cotangent(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


def _images(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(BATCH, *size, 3)).astype(np.float32)


def _logits(model: classifier.Classifier, x: jax.Array) -> jax.Array:
    return model(x, train=False, mask=None, dropout_key=None)


def _features(model: classifier.Classifier, x: jax.Array) -> jax.Array:
    return model.backbone(x, train=True, mask=None)  # in training, with stored statistics


def _assert_outputs_close(ours: np.ndarray, theirs: np.ndarray) -> None:
    print(f"outputs: largest difference {np.abs(ours - theirs).max():.1e} at {np.abs(theirs).max():.1f};", end=" ")
    assert np.abs(theirs).max() > 1
    assert np.abs(ours - theirs).max() < 1e-4


def test_both_files_give_the_same_weights(case: Case) -> None:
    first, second = (_ours(case, file, (True, True)) for file in case.files)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(first), nnx.state(second))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("switches", SWITCHES, ids=["fold-matmul", "fold", "matmul", "plain"])
@pytest.mark.parametrize("mode", ["evaluation", "training"])
def test_outputs_and_input_gradients(case: Case, size: tuple[int, int], switches: tuple[bool, bool], mode: str) -> None:
    model, images = _ours(case, case.files[1], switches), _images(size)
    calls = {"evaluation": (_logits, case.model), "training": (_features, case.model.features)}[mode]
    (value, gradient), (expected, slope) = _run(calls[0], model, images), _theirs(calls[1], images)
    _assert_outputs_close(value, expected)
    print(f"gradients: {np.abs(gradient - slope).max() / np.abs(slope).max():.1e} of the largest")
    assert np.abs(gradient - slope).max() < 1e-3 * np.abs(slope).max()


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_logits_with_activations_around_zero(backbone: str, tmp_path: Path) -> None:
    case, images = _make(backbone, 0.0, tmp_path), _images((224, 224))
    logits = nnx.jit(_logits)(_ours(case, case.files[0], (True, True)), jnp.asarray(images))
    _assert_outputs_close(np.asarray(logits), _theirs(case.model, images)[0])
