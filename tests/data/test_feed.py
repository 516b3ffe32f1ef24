"""Batches over the devices, and what every process gathers of them."""

import os
import signal

import jax
import numpy as np
import pytest

from ltpml_jax.data.feed import Feed
from ltpml_jax.errors import UserError
from ltpml_jax.runtime import preemption
from ltpml_jax.state import make_mesh

MESH = make_mesh(jax.devices())
BLANK = {"image": np.zeros((16, 3), np.uint8), "note": np.zeros(16, np.int32)}


def parts(count: int, fails_at: int | None = None):
    for number in range(count):
        if number == fails_at:
            raise UserError("image 5 cannot be decoded.")
        yield {"image": np.full((16, 3), number, np.uint8), "note": np.arange(16, dtype=np.int32) + number}


def feed(count: int = 3, fails_at: int | None = None) -> Feed:
    return Feed(parts(count, fails_at), MESH, 16, BLANK, ("note",), count)


def test_every_batch_comes_once_over_all_devices_with_its_broadcasts():
    batches = list(source := feed())
    assert len(batches) == 3
    for number, (arrays, broadcasts) in enumerate(batches):
        np.testing.assert_array_equal(arrays["image"], np.full((16, 3), number))
        assert {shard.data.shape for shard in arrays["image"].addressable_shards} == {(2, 3)}
        gathered = source.gather(broadcasts)
        np.testing.assert_array_equal(gathered["note"], np.arange(16) + number)
        assert gathered.keys() == {"note", "stop"} and not gathered["stop"]


def test_a_part_that_cannot_be_read_is_reported_where_it_should_have_come():
    """Up to there nothing is wrong, and the batches after it come too: others have to gather the flag first."""
    batches = list(source := feed(4, fails_at=1))
    assert len(batches) == 4
    source.gather(batches[0][1])
    assert not np.asarray(batches[1][0]["image"]).any()
    with pytest.raises(UserError, match="image 5 cannot be decoded"):
        source.gather(batches[1][1])


def test_sigterm_is_reported_with_the_next_batch():
    with preemption.watched():
        source = feed()
        _, before = next(source)
        os.kill(os.getpid(), signal.SIGTERM)
        _, after = next(source)
        assert [source.gather(broadcasts)["stop"] for broadcasts in (before, after)] == [False, True]
