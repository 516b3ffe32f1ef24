"""The scripts of scale and step time at a tiny size, and the reader of compiled programs that they rely on."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P

from benchmarks import hlo, scaling_parts, state_update
from ltpml_jax import losses, priors
from ltpml_jax.methods import ndlp_parts
from ltpml_jax.state import AXIS, make_mesh

ROOT = Path(__file__).parents[1]
SMALL = {"classes": 7, "batch": 16, "size": 16, "backbone": "resnet_small"}


def compiled(function, *shapes: tuple[int, ...]) -> str:
    """HLO text of a function of local parts, over 8 devices."""
    mesh = make_mesh(jax.devices())
    mapped = jax.shard_map(function, mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS), check_vma=False)
    arrays = [jax.ShapeDtypeStruct((8 * shape[0], *shape[1:]), jnp.float32) for shape in shapes]
    return str(jax.jit(mapped).lower(*arrays).compile().as_text())


@pytest.mark.parametrize(
    ("function", "kind", "size", "sent"),
    [
        (lambda x: lax.psum(x, AXIS), "all-reduce", 60, 2 * 60 * 7 / 8),
        (lambda x: lax.all_gather(x, AXIS, tiled=True), "all-gather", 8 * 60, 60 * 7),
        (lambda x: lax.ppermute(x, AXIS, [(i, (i + 1) % 8) for i in range(8)]), "collective-permute", 60, 60),
    ],
)
def test_a_collective_is_found_with_its_bytes(function, kind, size, sent):
    (found,) = hlo.collectives(compiled(function, (3, 5)), 8)
    assert (found.kind, found.bytes, found.devices, found.sent) == (kind, size, 8, sent)


def test_a_program_that_moves_nothing_has_no_collectives():
    assert hlo.collectives(compiled(lambda x: x * x.sum(), (3, 5)), 8) == []


def test_an_asynchronous_pair_counts_once_and_groups_have_their_size():
    text = """
      %a = (f32[2,4]{1,0}, f32[8,4]{1,0}) all-gather-start(f32[2,4]{1,0} %p), replica_groups=[2,4]<=[8], dimensions={0}
      %b = f32[8,4]{1,0} all-gather-done((f32[2,4]{1,0}, f32[8,4]{1,0}) %a)
      %c = (bf16[6]{0}, pred[3]{0}) all-reduce(bf16[6]{0} %q, pred[3]{0} %r), replica_groups={{0,1},{2,3}}, to_apply=%s
      %d = f32[9]{0} all-reduce(f32[9]{0} %q), replica_groups={{0},{1}}, to_apply=%s
    """
    gather, reduce = hlo.collectives(text, 8)
    assert (gather.kind, gather.bytes) == ("all-gather", 8 * 4 * 4)
    assert (reduce.result, reduce.bytes, reduce.devices, reduce.sent) == ("bf16[6] pred[3]", 15, 2, 15)


def test_what_a_step_moves_does_not_depend_on_the_number_of_images():
    few, many = (scaling_parts.step(images=images, **SMALL) for images in (300, 300_000))
    assert few["moved"] == many["moved"] and few["temp"] == many["temp"]
    assert many["alias"] > many["share"] > 100 * few["share"]  # the table is there, and changed in place


def test_the_state_begins_without_moving_more_than_sums():
    facts = scaling_parts.init(images=300_000, classes=7, backbone="resnet_small")
    assert 0 < sum(item["bytes"] for item in facts["moved"]) <= 4 * 4 * 7


def test_the_state_update_moves_batch_sized_arrays():
    facts = scaling_parts.update(rows=256, batch=4, repeats=2)
    arrays = [array for item in facts["moved"] for array in item["result"].split()]
    assert max(map(hlo.array_bytes, arrays)) == 8 * 4 * state_update.CLASSES * 4  # the rows of the global batch


def run(*arguments: str) -> list[list[str]]:
    """The words of each line that the script prints, on one device."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.step",
        "--batch=4",
        "--size=16",
        "--backbone=resnet_small",
        "--steps=1",
    ]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=200
    )
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.processes
def test_the_overhead_table_has_ratios_to_two_plain_passes():
    rows = run("--overhead")[-3:]
    assert [row[0] for row in rows] == ["two", "NDLP", "two"] and rows[0][-3] == "1.000"
    assert all(float(row[-5]) > 0 and float(row[-3]) > 0 for row in rows)


@pytest.mark.processes
def test_the_sweep_gives_a_share_of_the_matrix_rate():
    dtype, batch, rate, share, planned = run("--sweep")[-1]
    assert (dtype, batch) == ("float32", "4") and float(rate) > 0 and float(planned) > 0
    assert 0 <= float(share) < 1


def test_pytorch_does_the_same_work():
    """One step of both: loss, selection, label correction and class distribution agree."""
    torch = pytest.importorskip("torch")
    from benchmarks import torch_step

    rng = np.random.default_rng(0)
    candidates = (rng.random((50, 7)) < 0.4).astype(np.float32)
    prior, params = priors.oracle_prior(candidates.sum(0), 50), state_update.PARAMS
    theirs = torch_step.Step("resnet18", candidates, np.array(prior.class_count), 50, params, "float32")
    logits, hard = (rng.normal(size=(9, 7)).astype(np.float32) for _ in range(2))
    hard, index = (hard > 0).astype(np.float32), np.arange(9)
    loss = np.asarray(losses.db_focal(logits, hard, prior, params.loss))
    pairs = [(theirs.loss(torch.as_tensor(logits), torch.as_tensor(hard)), loss)]
    uniform, alpha = np.full(7, 1 / 7, np.float32), 0.4 + 0.4 / params.epochs
    reliable = ndlp_parts.select_reliable(loss.mean(1), hard, uniform, alpha)
    pairs += [(theirs.select(torch.as_tensor(loss.mean(1)), torch.as_tensor(hard), 1), reliable)]
    rows = theirs.confidence[index].clone()
    tensors = (torch.as_tensor(array) for array in (index, candidates[index]))
    theirs.update(*tensors, rows, torch.as_tensor(logits))
    corrected = ndlp_parts.correct_labels(rows.numpy(), logits, candidates[index], params.correction_rate)
    pairs += [(theirs.confidence[index], corrected)]
    pairs += [(theirs.distribution, ndlp_parts.finetune_distribution(uniform, rows.numpy()))]
    pairs += [(theirs.total, theirs.confidence.sum(0))]
    for got, wanted in pairs:
        np.testing.assert_allclose(np.asarray(got.detach()), np.asarray(wanted), rtol=1e-4, atol=1e-6)
    image = rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    served = theirs.placed({"image": image, "index": index[:4], "label": candidates[:4].astype(np.uint8)})
    assert torch.isfinite(theirs(**served))
