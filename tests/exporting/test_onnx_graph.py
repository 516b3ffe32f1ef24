"""The ONNX graph in onnxruntime; needs the packages onnx and onnxruntime."""

import json

import jax
import pytest

from ltpml_jax.exporting import onnx_graph, torch_names
from tests.helpers import exportables
from tests.helpers.exportables import difference, exportable, thin

pytestmark = pytest.mark.usefixtures("least_optimised")

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
NAMES = ["cat", 'a "quoted" one', "<script>", "חתול", "e", "f"]
RUNS = {
    "resnet_small": exportable,
    "bottlenecks": thin,
    "offset": lambda: exportable(method__name="noise_model", noise__branch=0.0),
}


def graph_of(run) -> bytes:
    form = torch_names.linear_form(run.model, run.headline)
    assert form is not None
    return onnx_graph.serialise_graph(form, run.size, NAMES)


@pytest.mark.parametrize("name", RUNS)
def test_onnxruntime_gives_the_logits_of_the_run(name):
    run = RUNS[name]()
    session = onnxruntime.InferenceSession(graph_of(run), providers=["CPUExecutionProvider"])
    for count in (1, 7):
        images = exportables.pixels(count, run.size)
        (found,) = session.run(["logits"], {"images": images})
        assert found.dtype == "float32" and difference(found, jax.jit(run.logits)(images)) < 1e-5


@pytest.mark.parametrize("name", RUNS)
def test_the_graph_is_sound_and_says_what_it_takes(name):
    run = RUNS[name]()
    model = onnx.load_from_string(graph_of(run))
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 8 and [(one.domain, one.version) for one in model.opset_import] == [("", 17)]
    shape = [one.dim_param or one.dim_value for one in model.graph.input[0].type.tensor_type.shape.dim]
    assert shape == ["batch", run.size, run.size, 3]
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    kinds = {"Cast", "Div", "Sub", "Transpose", "Conv", "Relu", "Add", "GlobalAveragePool", "Flatten", "Gemm"}
    assert {node.op_type for node in model.graph.node} == kinds | ({"MaxPool"} if name == "bottlenecks" else set())
    properties = {one.key: one.value for one in model.metadata_props}
    assert json.loads(properties["class_names"]) == NAMES
