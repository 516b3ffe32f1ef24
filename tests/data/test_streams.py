import numpy as np
import pytest

from ltpml_jax.data.streams import Purpose, raw, uniform
from ltpml_jax.errors import UserError

GOLDEN = ["0xdf4034b829e9fba4", "0x4b9d10cdf8e64087", "0x6b8b857e506aac98"]


def test_streams_are_those_of_philox_in_every_version():
    assert [hex(number) for number in raw(3, 7, Purpose.CANDIDATES)] == GOLDEN
    assert uniform((3,), 7, Purpose.CANDIDATES).tolist() == [(int(one, 16) >> 11) / 2**53 for one in GOLDEN]


def test_no_two_purposes_share_a_number():
    assert [purpose.value for purpose in Purpose] == list(range(len(Purpose)))
    streams = np.array([raw(1000, 0, purpose) for purpose in Purpose])
    assert len(np.unique(streams)) == streams.size


def test_numbers_lie_in_the_unit_interval_and_fill_it():
    numbers = uniform((100, 1000), 1, Purpose.KEEP)
    assert 0 <= numbers.min() < 1e-4 and 1 - 1e-4 < numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 4 / np.sqrt(12 * numbers.size)


@pytest.mark.parametrize("seed", [-1, 2**64, 0.5, float("nan"), "1"])
def test_other_seeds_are_refused(seed):
    with pytest.raises(UserError, match="the seed is .*; set it to an integer from 0"):
        raw(1, seed, Purpose.SINGLE)
