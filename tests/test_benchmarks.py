"""The scripts of scale and step time at a tiny size, and the reader of compiled programs that they rely on."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P

from benchmarks import digits, hlo, machine, scaling, scaling_parts, state_update, step, step_tables, table
from benchmarks import input as input_benchmark
from configs import digits_mlt
from ltpml_jax.config import validate
from ltpml_jax.methods import losses, ndlp, priors
from ltpml_jax.methods.base import Plan
from ltpml_jax.state import AXIS, make_mesh
from tests.helpers import runs, tiny
from tests.helpers.compiled import Compiled

pytestmark = pytest.mark.usefixtures("least_optimised")

ROOT = Path(__file__).parents[1]
SMALL = {"classes": 7, "batch": 16, "size": 16, "backbone": "resnet_small"}
TINY = ("--batch=4", "--size=16", "--backbone=resnet_small")


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
    with tiny.everywhere(), tiny.plain_draws():  # the tables are the same with any network
        few, many = (scaling_parts.step(images=images, **SMALL) for images in (300, 300_000))
    assert few["moved"] == many["moved"] and few["temp"] == many["temp"]
    assert many["alias"] > many["share"] > 100 * few["share"]  # the table is there, and changed in place


@pytest.mark.usefixtures("numpy_weights")
def test_the_state_begins_without_moving_more_than_sums():
    found = scaling_parts.init(images=300_000, classes=7, backbone="resnet_small")
    assert 0 < sum(item["bytes"] for item in found["moved"]) <= 4 * 4 * 7


def test_the_state_update_moves_batch_sized_arrays():
    found = scaling_parts.update(rows=256, batch=4, repeats=2)
    arrays = [array for item in found["moved"] for array in item["result"].split()]
    assert max(map(hlo.array_bytes, arrays)) == 8 * 4 * state_update.CLASSES * 4  # the rows of the global batch


def test_the_state_update_is_the_work_of_one_step():
    """Against the arithmetic of the method, by hand: rows that are named change, as label correction changes them."""
    state, rng = jax.jit(lambda: state_update.initial(300))(), np.random.default_rng(0)
    batch = state_update.random_batch(rng, 300, 8)
    batch["index"][:2] = 5
    new = jax.jit(state_update.update)(state, batch)
    before, after = np.asarray(state.rows), np.asarray(new.rows)
    winners = batch["index"][1:]
    adjusted = batch["image"] + Compiled(losses).class_bias(state.shared.prior, state_update.DB)[None]
    wanted = Compiled(ndlp).correct_labels(before[batch["index"]], adjusted, batch["states"] != 0, 0.1)
    np.testing.assert_allclose(after[winners], wanted[1:], rtol=1e-5)
    others = np.setdiff1d(np.arange(len(before)), winners)
    np.testing.assert_array_equal(after[others], before[others])
    np.testing.assert_allclose(new.shared.column_sum.value, after.sum(0), rtol=1e-5)


@pytest.mark.parametrize("images", [1_000, 100_000])
def test_the_state_update_has_the_same_work_whatever_n_is(images):
    """No scratch memory and no flops that grow with the table, which the mean over all rows has."""

    def cost(function):
        shapes = jax.eval_shape(lambda: state_update.initial(images))
        batch = state_update.random_batch(np.random.default_rng(0), images, state_update.BATCH)
        compiled = jax.jit(function, donate_argnums=0).lower(shapes, batch).compile()
        return hlo.memory(compiled)["temp"], (compiled.cost_analysis() or {})["flops"]

    scratch, flops = cost(state_update.update)
    assert scratch < 2**17 and flops < 200_000
    assert cost(state_update.update_with_full_mean)[1] > flops + images * state_update.CLASSES / 2


def set_load(monkeypatch, load: float) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 9.0, 9.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 4)


@pytest.mark.parametrize("busy_too", [False, True])
def test_up_to_half_a_core_of_load_is_idle(monkeypatch, busy_too):
    set_load(monkeypatch, 2.0)
    assert machine.load_note(busy_too) == "load 0.50 a core"


def test_more_load_is_refused_or_mentioned(monkeypatch, capsys):
    set_load(monkeypatch, 2.1)
    assert machine.load_note(busy_too=True) == "on a busy machine: load 0.53 a core"
    with pytest.raises(SystemExit) as ended:
        machine.load_note(busy_too=False)
    assert ended.value.code == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("error: The load is 0.53 a core") and "--busy" in sentence


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        *((step, (f"--{table}",)) for table in ("overhead", "torch", "sweep", "switches")),
        (scaling, ()),
        (scaling, ("moved", "weak")),
        (input_benchmark, ()),
        (input_benchmark, ("--overlap",)),
    ],
)
def test_programs_that_print_ratios_refuse_a_busy_machine(monkeypatch, capsys, program, arguments):
    set_load(monkeypatch, 2.1)
    monkeypatch.setattr(sys, "argv", [program.__name__, *arguments])
    with pytest.raises(SystemExit) as ended:
        program.main()
    out, err = capsys.readouterr()
    assert ended.value.code == 2 and err.startswith("error: The load") and not out


def test_all_runs_of_the_digits_benchmark_have_fields_that_exist():
    tuned = [job for method, fields in digits.METHODS.items() for job in digits.tuning_jobs(method, fields)]
    final = [
        job
        for name, (_, fields, partials) in digits.lines().items()
        for job in digits.final_jobs(name, fields, partials, 0.1)
    ]
    assert (len(tuned), len(final)) == (5 * 3, 3 * (4 * 2 + 1 + 4))
    assert len({job.name for job in tuned + final}) == len(tuned + final)
    for job in tuned + final:
        config = digits_mlt.get_config(str(job.partial))
        config.update_from_flattened_dict(job.overrides)
        validate(config)


def test_the_digits_table_has_the_rate_that_validation_chose(monkeypatch, capsys, tmp_path):
    """From finished runs: rate 0.03 is best by validation; the test mAP is ten times the seed, but without mixup."""
    for method, fields in digits.METHODS.items():
        for rate, job in zip(digits.RATES, digits.tuning_jobs(method, fields), strict=True):
            finish(tmp_path / job.name, 0.0, 30 - abs(rate - 0.03))
    for name, (_, fields, partials) in digits.lines().items():
        for job in digits.final_jobs(name, fields, partials, 0.03):
            finish(tmp_path / job.name, 10.0 * job.overrides["seed"], 0.0)
    monkeypatch.setattr(sys, "argv", ["digits", f"--out={tmp_path}"])
    digits.main()
    out = capsys.readouterr().out
    assert out.count("learning rate 0.03") == 5
    assert "| NDLP, oracle priors | 0.5 | 10.0 ± 10.0 | 11.0 ± 10.0 | 12.0 ± 10.0 | 13.0 ± 10.0 |" in out
    assert out.count("± 10.0 |\n") == 4 * 2 + 1 + 4


def finish(workdir: Path, score: float, validation: float) -> None:
    """What is left of a run with these scores that the benchmark reads."""
    workdir.mkdir(parents=True)
    scores = {group: score + place for place, group in enumerate(digits.GROUPS)}
    (workdir / "results.json").write_text(json.dumps({"test": {"last (epoch 1)": scores, "best (epoch 1)": {}}}))
    (workdir / "metrics.jsonl").write_text(f'{{"epoch": 0}}\n{{"validation_mAP": {validation}}}\n')


def run(*arguments: str) -> list[list[str]]:
    """The words of each line that `benchmarks.step` prints at a tiny size, on one device."""
    command = [*(sys.executable, "-m", "benchmarks.step", "--busy", "--steps=1"), *TINY, *arguments]
    quick = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}  # compiles in half the time
    done = subprocess.run(
        command, cwd=ROOT, env=runs.environment() | quick, capture_output=True, text=True, check=True, timeout=200
    )
    return [line.split() for line in done.stdout.splitlines()]


def test_the_overhead_table_has_the_load_and_ratios_to_two_plain_passes(monkeypatch, capsys):
    """On a network and with draws that compile quickly, in this process."""
    monkeypatch.setattr(sys, "argv", ["step", "--busy", "--steps=1", "--overhead", "--batch=8", "--size=16"])
    monkeypatch.setattr(step_tables, "REST", 0.0)
    with tiny.everywhere(), tiny.plain_draws():
        step.main()
    head, *rows = (line.split() for line in capsys.readouterr().out.splitlines()[-4:])
    assert re.search(r"load \d+\.\d\d a core s/step", " ".join(head))
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
    prior = priors.oracle_prior(candidates.sum(0), 50)
    settings, db, plan = state_update.SETTINGS, state_update.DB, Plan(epochs=10, batch_size=9)
    theirs = torch_step.Step("resnet18", candidates, prior, settings, db, plan, "float32")
    logits, hard = (rng.normal(size=(9, 7)).astype(np.float32) for _ in range(2))
    hard, index = (hard > 0).astype(np.float32), np.arange(9)
    loss = np.asarray(losses.db_focal(logits, hard, prior, db))
    pairs = [(theirs.loss(torch.as_tensor(logits), torch.as_tensor(hard)), loss)]
    uniform, alpha = np.full(7, 1 / 7, np.float32), jnp.asarray(0.4 + 0.4 / plan.epochs)
    reliable = ndlp.select_reliable(loss.mean(1), hard, uniform, alpha)
    pairs += [(theirs.select(torch.as_tensor(loss.mean(1)), torch.as_tensor(hard), 1), reliable)]
    rows = theirs.confidence[index].clone()
    tensors = (torch.as_tensor(array) for array in (index, candidates[index]))
    theirs.update(*tensors, rows, torch.as_tensor(logits))
    corrected = ndlp.correct_labels(rows.numpy(), logits, candidates[index], settings.correction_rate)
    pairs += [(theirs.confidence[index], corrected)]
    pairs += [(theirs.distribution, ndlp.finetune_distribution(uniform, rows.numpy()))]
    pairs += [(theirs.total, theirs.confidence.sum(0))]
    for got, wanted in pairs:
        np.testing.assert_allclose(np.asarray(got.detach()), np.asarray(wanted), rtol=1e-4, atol=1e-6)
    image = rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    served = theirs.placed({"image": image, "index": index[:4], "states": candidates[:4].astype(np.int8)})
    assert torch.isfinite(theirs(**served))


@pytest.mark.parametrize(
    ("recipe", "rate", "tried", "expected"),
    [
        ("sgd", 0.1, {0.03, 0.1, 0.3}, None),
        ("sgd", 0.3, {0.03, 0.1, 0.3}, 1.0),
        ("adam", 3e-4, {3e-4, 1e-3, 3e-3}, 1e-4),
        ("adam", 3e-5, {3e-5, 1e-4, 3e-4}, None),  # two steps out, also where the command comes again
        ("sgd", 3.0, {0.3, 1.0, 3.0}, None),
    ],
)
def test_the_table_goes_a_step_beyond_its_grid(recipe, rate, tried, expected):
    assert table.beyond(table.Choice(recipe, rate, 50.0), tried) == expected
