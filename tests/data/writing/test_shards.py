"""Where a split is cut into shards, and when a shard is the same as another."""

from dataclasses import replace

import numpy as np
import pytest

from ltpml_jax.data.listing import ListedSplit
from ltpml_jax.data.locations import FOLDER, MISSING, File, measure
from ltpml_jax.data.writing import shards

MIB = 1 << 20


def cut(sizes: list[int]) -> list[shards.Shard]:
    ids = [f"{row}.jpg" for row in range(len(sizes))]
    states = np.arange(2 * len(sizes), dtype=np.int8).reshape(-1, 2) % 2
    return shards.cut("train", ListedSplit(ids, ids, states), [File(size, 1.0) for size in sizes], ("a", "b"))


def test_shards_hold_about_16_mib_each():
    found = cut([MIB] * 40)
    assert [(shard.first, len(shard.ids)) for shard in found] == [(0, 16), (16, 16), (32, 8)]
    assert found[1].name == "lt_pml-train.array_record-00001-of-00003"
    assert found[2].ids == [f"{row}.jpg" for row in range(32, 40)] and found[2].states.shape == (8, 2)


@pytest.mark.parametrize("sizes", [[0], [-1, -1, 5], [100 * MIB], [100 * MIB] * 3, [1, 100 * MIB, 1, 1]])
def test_every_row_is_in_one_shard_and_none_is_empty(sizes):
    found = cut(sizes)
    assert [row for shard in found for row in range(shard.first, shard.first + len(shard.ids))] == list(
        range(len(sizes))
    )
    assert all(shard.ids for shard in found)


def test_there_are_never_more_than_a_thousand_or_so():
    assert 900 < len(cut([MIB] * 100_000)) <= shards.MOST_SHARDS


def test_the_key_sees_every_change():
    (shard,) = cut([5, 5])
    others = [
        replace(shard, ids=["x", "1.jpg"]),
        replace(shard, first=1),
        replace(shard, split="test"),
        replace(shard, states=1 - shard.states),
        replace(shard, class_names=("a", "c")),
        replace(shard, files=[File(5, 1.0), File(5, 2.0)]),
        replace(shard, files=[File(5, 1.0), File(6, 1.0)]),
    ]
    assert len({shard.key(), *(other.key() for other in others)}) == 8
    assert replace(shard).key() == shard.key()


def test_only_files_have_a_size(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert measure(tmp_path / "file").size == 3
    assert [measure(tmp_path / name).size for name in (".", "absent")] == [FOLDER, MISSING]
