"""The model card: read by the hub's own reader, complete, and safe against odd names."""

import json
import re

import pytest
from huggingface_hub import ModelCard

from ltpml_jax.errors import UserError
from ltpml_jax.exporting import model_card
from tests.helpers import workdirs
from tests.helpers.exportables import exportable

SCORES = {"mAP_total": 33.994, "mAP_head": 40.0, "mAP_medium": 41.5, "mAP_tail": None, "micro_F1": 30.5}


def text_of(run, snippets=("timm", "onnx", "stablehlo")) -> str:
    return model_card.card(run, snippets).decode()


def test_the_hub_reads_its_head_and_the_licence_is_left_open():
    read = ModelCard(text_of(exportable()))
    assert read.data.library_name == "timm" and "multi-label" in read.data.tags and read.data.license is None
    assert ModelCard(text_of(exportable(), ["stablehlo"])).data.library_name == "ltpml_jax"


def test_it_says_what_the_model_was_made_from():
    text = text_of(exportable())
    for row in ("dataset | toy, 100 training images", "noise of its labels | partial, rate 0.3", "method | bce"):
        assert f"| {row} |" in text
    assert "seed of training | 0 |" in text and "None yet: the run is not finished." in text
    assert "estimated from noisy labels" in text and "gives other pixels" in text


def test_the_results_become_a_table(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps({"test": {"last (epoch 2)": SCORES}}))
    text = text_of(exportable()._replace(workdir=tmp_path))
    assert "| last (epoch 2) | 33.99 | 40.00 | 41.50 | - | 30.50 | - | - |" in text
    lines = [line for line in text.splitlines() if line.startswith(("| checkpoint", "| last (epoch"))]
    assert len({line.count("|") for line in lines}) == 1 and len(lines) == 2


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"test": 3}', '{"test": {"last": {"mAP_total": "x"}}}'])
def test_damaged_results_are_one_sentence(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(UserError, match=r"results\.json is damaged; remove it, and resume the run"):
        text_of(exportable()._replace(workdir=tmp_path))


def test_odd_names_stay_in_their_cells():
    odd = "a | b\n---\nlicense: mit <script>alert(1)</script> `x`"
    record = workdirs.record()
    run = exportable()
    run = run._replace(about=run.about | {"dataset": record["dataset"] | {"name": odd}})
    text = text_of(run)
    assert "<script>" not in text and ModelCard(text).data.license is None
    (row,) = [line for line in text.splitlines() if line.startswith("| dataset |")]
    assert len(re.findall(r"(?<!\\)\|", row)) == 3


def test_the_python_in_it_is_sound():
    text = text_of(exportable(), list(model_card.SNIPPETS))
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        compile(block, "README.md", "exec")
        assert re.search(r"\{\w*\}", block) is None  # nothing of the template is left
