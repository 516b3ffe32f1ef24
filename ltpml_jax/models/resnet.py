"""ResNet backbones, NHWC, with torchvision's geometry, and one narrow variant for small images.

Attribute paths are torchvision's (`layer1.0.conv1`, `layer1.0.downsample.1`); a conv's `weight` is called
`kernel` here and stored [h, w, I, O]; a BatchNorm's `weight`, `running_mean`, `running_var` are called
`scale`, `mean`, `var`.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from flax import nnx
from jax import Array

from ltpml_jax.models.layers import Compute, batch_norm, conv, conv_norm, max_pool, relu

STAGES = 4


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions and a shortcut (ResNet 18 and 34)."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, rngs: nnx.Rngs):
        """Makes the block [.., inputs] -> [.., width]; the first convolution has the stride."""
        self.conv1 = conv(inputs, width, 3, stride, rngs)
        self.bn1 = batch_norm(width, rngs)
        self.conv2 = conv(width, width, 3, 1, rngs)
        self.bn2 = batch_norm(width, rngs)
        self.downsample = _downsample(inputs, width, stride, rngs)

    def __call__(self, x: Array, compute: Compute, mask: Array | None) -> Array:
        """[B, H, W, inputs] to [B, H/stride, W/stride, width]."""
        y = relu(conv_norm(self.conv1, self.bn1, x, compute, mask))
        y = conv_norm(self.conv2, self.bn2, y, compute, mask)
        return relu(y + _shortcut(self.downsample, x, compute, mask))


class Bottleneck(nnx.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut (ResNet 50 and 101), the stride on the 3x3 ("v1.5")."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, rngs: nnx.Rngs):
        """Makes the block [.., inputs] -> [.., 4 width]."""
        self.conv1 = conv(inputs, width, 1, 1, rngs)
        self.bn1 = batch_norm(width, rngs)
        self.conv2 = conv(width, width, 3, stride, rngs)
        self.bn2 = batch_norm(width, rngs)
        self.conv3 = conv(width, 4 * width, 1, 1, rngs)
        self.bn3 = batch_norm(4 * width, rngs)
        self.downsample = _downsample(inputs, 4 * width, stride, rngs)

    def __call__(self, x: Array, compute: Compute, mask: Array | None) -> Array:
        """[B, H, W, inputs] to [B, H/stride, W/stride, 4 width]."""
        y = relu(conv_norm(self.conv1, self.bn1, x, compute, mask))
        y = relu(conv_norm(self.conv2, self.bn2, y, compute, mask))
        y = conv_norm(self.conv3, self.bn3, y, compute, mask)
        return relu(y + _shortcut(self.downsample, x, compute, mask))


class Architecture(NamedTuple):
    """What distinguishes one ResNet from another: block, blocks and width of each stage, stem."""

    block: type[BasicBlock] | type[Bottleneck]
    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]
    stem_size: int
    stem_width: int
    stem_pool: bool

    @property
    def stride(self) -> int:
        """Pixels of the image's side to one of the last stage's output."""
        return 2 ** (STAGES + self.stem_pool)


_WIDTHS = (64, 128, 256, 512)
ARCHITECTURES: dict[str, Architecture] = {
    "resnet18": Architecture(BasicBlock, (2, 2, 2, 2), _WIDTHS, 7, 64, True),
    "resnet34": Architecture(BasicBlock, (3, 4, 6, 3), _WIDTHS, 7, 64, True),
    "resnet50": Architecture(Bottleneck, (3, 4, 6, 3), _WIDTHS, 7, 64, True),
    "resnet101": Architecture(Bottleneck, (3, 4, 23, 3), _WIDTHS, 7, 64, True),
    "resnet_small": Architecture(BasicBlock, (1, 1, 1, 1), (16, 32, 64, 96), 3, 16, False),
}


class ResNet(nnx.Module):
    """Stem and four stages, without pooling and classifier."""

    def __init__(self, architecture: Architecture, compute: Compute, frozen_stages: int, rngs: nnx.Rngs):
        """Makes a backbone.

        Args:
            architecture: one of ARCHITECTURES.
            compute: how to compute; `batch_statistics` holds in training, outside of frozen stages.
            frozen_stages: 0 for none, k for the stem and the first k stages: their BatchNorm never updates.
            rngs: initial weights.
        """
        self.compute, self.frozen_stages = compute, frozen_stages
        self.stem_pool = architecture.stem_pool
        self.conv1 = conv(3, architecture.stem_width, architecture.stem_size, 2, rngs)
        self.bn1 = batch_norm(architecture.stem_width, rngs)
        self.layer1 = _stage(architecture, 0, rngs)
        self.layer2 = _stage(architecture, 1, rngs)
        self.layer3 = _stage(architecture, 2, rngs)
        self.layer4 = _stage(architecture, 3, rngs)
        widths = (width * architecture.block.expansion for width in architecture.widths)
        self.stage_features = (architecture.stem_width, *widths)
        self.features = self.stage_features[-1]

    def __call__(self, images: Array, *, train: bool, mask: Array | None) -> Array:
        """Features of normalised images.

        Args:
            images: [B, H, W, 3], any float dtype.
            train: batch statistics are used only then, and only where `compute` asks for them.
            mask: bool [B], the rows that count in batch statistics; None for all.

        Returns:
            [B, ceil(H/32), ceil(W/32), features] in the compute dtype (1/16 for resnet_small).
        """
        return self.stages(images, train=train, mask=mask)[-1]

    def stages(self, images: Array, *, train: bool, mask: Array | None) -> list[Array]:
        """What stem and stages return, [B, h, w, F] F of `stage_features`; the last, and arguments, as of a call."""
        compute = self._stage_compute(1, train)  # the stem freezes with the first stage
        x = relu(conv_norm(self.conv1, self.bn1, images.astype(compute.dtype), compute, mask))
        outputs = [max_pool(x) if self.stem_pool else x]
        for number, stage in enumerate((self.layer1, self.layer2, self.layer3, self.layer4), start=1):
            x = outputs[-1]
            for block in stage:
                x = block(x, self._stage_compute(number, train), mask)
            outputs.append(x)
        return outputs

    def _stage_compute(self, number: int, train: bool) -> Compute:
        live = train and number > self.frozen_stages
        return replace(self.compute, batch_statistics=self.compute.batch_statistics and live)


def frozen_prefixes(frozen_stages: int) -> frozenset[str]:
    """The attribute names of a ResNet that `frozen_stages` freezes."""
    stages: Iterable[int] = range(1, frozen_stages + 1)
    stem = ("conv1", "bn1") if frozen_stages else ()
    return frozenset(stem) | {f"layer{number}" for number in stages}


def _stage(architecture: Architecture, stage: int, rngs: nnx.Rngs) -> nnx.List:
    block, depth, width = architecture.block, architecture.depths[stage], architecture.widths[stage]
    outputs = width * block.expansion
    inputs = architecture.widths[stage - 1] * block.expansion if stage else architecture.stem_width
    first = block(inputs, width, 2 if stage else 1, rngs)
    return nnx.List([first, *(block(outputs, width, 1, rngs) for _ in range(depth - 1))])


def _downsample(inputs: int, outputs: int, stride: int, rngs: nnx.Rngs) -> nnx.List | None:
    if stride == 1 and inputs == outputs:
        return None
    return nnx.List([conv(inputs, outputs, 1, stride, rngs), batch_norm(outputs, rngs)])


def _shortcut(downsample: nnx.List | None, x: Array, compute: Compute, mask: Array | None) -> Array:
    return x if downsample is None else conv_norm(downsample[0], downsample[1], x, compute, mask)
