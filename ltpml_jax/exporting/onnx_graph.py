"""A run's classifier as an ONNX graph, node by node: model.onnx, for onnxruntime and whatever else reads ONNX.

The graph takes pixels and normalises them itself. BatchNorm is folded into the convolutions, in float64. Needs `onnx`.
"""

import json
from typing import Any

import numpy as np
from flax import nnx

from ltpml_jax import __version__
from ltpml_jax.exporting.torch_names import LinearOnPooled
from ltpml_jax.models.pretrained import to_torch
from ltpml_jax.models.resnet import BasicBlock, Bottleneck, ResNet
from ltpml_jax.photometric import IMAGENET_MEAN, IMAGENET_STD

OPSET, IR_VERSION = 17, 8
INPUT, OUTPUT, BATCH = "images", "logits", "batch"


class GraphBuilder:
    """Nodes and constants of a graph in the making; what a method returns names a tensor."""

    def __init__(self) -> None:
        """Of nothing."""
        from onnx import helper, numpy_helper

        self._helper, self._from_array = helper, numpy_helper.from_array
        self.nodes, self.constants = [], []

    def constant(self, name: str, array: np.ndarray) -> str:
        """A float32 tensor of the graph's own."""
        self.constants.append(self._from_array(np.ascontiguousarray(array, np.float32), name))
        return name

    def node(self, kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        """The output of an operator, which is called what its node is called."""
        self.nodes.append(self._helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def convolution(self, name: str, unit: nnx.Conv, norm: nnx.BatchNorm, x: str) -> str:
        """A convolution and the BatchNorm after it, with stored statistics."""
        arrays = (norm.scale, norm.bias, norm.mean, norm.var, unit.kernel)
        scale, bias, mean, var, kernel = (np.asarray(array[...], np.float64) for array in arrays)  # pyright: ignore
        gain = scale / np.sqrt(var + norm.epsilon)
        weight = self.constant(f"{name}.weight", to_torch(kernel * gain[None, None, None]))
        shift, half = self.constant(f"{name}.bias", bias - mean * gain), kernel.shape[0] // 2
        stride = int(unit.strides[0])  # pyright: ignore
        return self.node("Conv", name, x, weight, shift, strides=[stride] * 2, pads=[half] * 4)


def serialise_graph(form: LinearOnPooled, size: int, class_names: list[str]) -> bytes:
    """The ONNX file of images uint8 [batch, S, S, 3] -> logits float32 [batch, C]; its metadata has `class_names`."""
    from onnx import TensorProto, helper

    graph = GraphBuilder()
    features = _backbone(graph, form.backbone, _normalised(graph))
    pooled = graph.node("Flatten", "features", graph.node("GlobalAveragePool", "pooled", features))
    weights = graph.constant("fc.weight", form.weight), graph.constant("fc.bias", form.bias)
    graph.node("Gemm", OUTPUT, pooled, *weights, transB=1)
    made = helper.make_graph(
        graph.nodes,
        "ltpml_jax",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [BATCH, size, size, 3])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [BATCH, len(class_names)])],
        graph.constants,
    )
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="ltpml_jax",
        producer_version=__version__,
    )
    helper.set_model_props(model, {"class_names": json.dumps(class_names), "probability": "sigmoid of logits"})
    return model.SerializeToString(deterministic=True)


def _normalised(graph: GraphBuilder) -> str:
    """(x / 255 - mean) / std of the input, [batch, 3, S, S]."""
    from onnx import TensorProto

    scaled = graph.node("Cast", "pixels", INPUT, to=TensorProto.FLOAT)
    for kind, name, by in (("Div", "unit", 255.0), ("Sub", "centred", IMAGENET_MEAN), ("Div", "normal", IMAGENET_STD)):
        scaled = graph.node(kind, name, scaled, graph.constant(f"{name}.by", np.asarray(by)))
    return graph.node("Transpose", "channels_first", scaled, perm=[0, 3, 1, 2])


def _backbone(graph: GraphBuilder, backbone: ResNet, x: str) -> str:
    x = graph.node("Relu", "relu", graph.convolution("conv1", backbone.conv1, backbone.bn1, x))
    if backbone.stem_pool:
        x = graph.node("MaxPool", "maxpool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for number, stage in enumerate((backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4), start=1):
        for place, block in enumerate(stage):
            x = _block(graph, f"layer{number}.{place}", block, x)
    return x


def _block(graph: GraphBuilder, name: str, block: BasicBlock | Bottleneck, x: str) -> str:
    units = [(block.conv1, block.bn1), (block.conv2, block.bn2)]
    if isinstance(block, Bottleneck):
        units.append((block.conv3, block.bn3))
    y = x
    for number, (unit, norm) in enumerate(units, start=1):
        y = graph.convolution(f"{name}.conv{number}", unit, norm, y)
        if number < len(units):
            y = graph.node("Relu", f"{name}.relu{number}", y)
    shortcut = x
    if block.downsample is not None:
        shortcut = graph.convolution(f"{name}.downsample", block.downsample[0], block.downsample[1], x)
    return graph.node("Relu", f"{name}.relu", graph.node("Add", f"{name}.add", y, shortcut))
