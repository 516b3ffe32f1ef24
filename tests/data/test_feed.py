"""Batches over the devices, and what is heard of them."""

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


def test_every_batch_comes_once_over_all_devices_with_its_news():
    batches = list(told := feed())
    assert len(batches) == 3
    for number, (arrays, news) in enumerate(batches):
        np.testing.assert_array_equal(arrays["image"], np.full((16, 3), number))
        assert {shard.data.shape for shard in arrays["image"].addressable_shards} == {(2, 3)}
        heard = told.hear(news)
        np.testing.assert_array_equal(heard["note"], np.arange(16) + number)
        assert heard.keys() == {"note", "stop"} and not heard["stop"]


def test_a_part_that_cannot_be_read_is_heard_where_it_should_have_come():
    """Up to there nothing is wrong, and the batches after it come too: other processes have to hear of it first."""
    batches = list(told := feed(4, fails_at=1))
    assert len(batches) == 4
    told.hear(batches[0][1])
    assert not np.asarray(batches[1][0]["image"]).any()
    with pytest.raises(UserError, match="image 5 cannot be decoded"):
        told.hear(batches[1][1])


def test_sigterm_is_told_with_the_next_batch():
    with preemption.watched():
        told = feed()
        _, before = next(told)
        os.kill(os.getpid(), signal.SIGTERM)
        _, after = next(told)
        assert [told.hear(news)["stop"] for news in (before, after)] == [False, True]
