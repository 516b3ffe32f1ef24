"""What one process says of a cluster, and how it reads its environment; several are in test_processes.py."""

import jax
import numpy as np
import pytest

from ltpml_jax.errors import SharedError, UserError
from ltpml_jax.runtime import processes

NAMES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "SLURM_NTASKS", "SLURM_PROCID")


@pytest.fixture(autouse=True)
def nowhere(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "variables,expected",
    [
        ({}, (0, 1)),
        ({"JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"}, (3, 4)),
        ({"SLURM_NTASKS": "16", "SLURM_PROCID": "0"}, (0, 16)),
        ({"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1", "SLURM_NTASKS": "16", "SLURM_PROCID": "0"}, (1, 2)),
        ({"SLURM_NTASKS": "16"}, (0, 1)),
    ],
)
def test_the_environment_says_who_we_are_before_anybody_has_joined(monkeypatch, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert processes.expected() == expected


@pytest.mark.parametrize("variables", [{}, {"JAX_NUM_PROCESSES": "two", "JAX_PROCESS_ID": "0"}])
def test_an_address_without_numbers_is_refused(monkeypatch, variables):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "localhost:1")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="JAX_NUM_PROCESSES and JAX_PROCESS_ID must be whole numbers; set them too"):
        processes.join(False, limit=1, silence=10)


@pytest.mark.parametrize("address", [None, "", "localhost", "localhost:", ":8476"])
def test_numbers_without_an_address_are_refused(monkeypatch, address):
    """Each process would be a run by itself otherwise."""
    for name, value in zip(NAMES, (address, "2", "1"), strict=False):
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"JAX_COORDINATOR_ADDRESS is '{address or ''}', .*set it to HOST:PORT"):
        processes.join(False, limit=1, silence=10)


def test_one_process_joins_no_other_and_speaks_for_itself():
    processes.join(False, limit=1, silence=10)
    processes.check_joined()
    assert processes.is_first() and processes.name().startswith("process 0 (")
    assert processes.exchange("a word") == ["a word"] and processes.from_first(lambda: "sent") == "sent"
    np.testing.assert_array_equal(processes.total(np.array([2**40, 3])), [2**40, 3])
    assert processes.together(lambda: 7) == 7


def test_an_error_of_one_process_alone_stays_what_it_is():
    def fails():
        raise UserError("the disk is full.")

    with pytest.raises(UserError, match=r"^the disk is full\.$") as caught:
        processes.together(fails)
    assert not isinstance(caught.value, SharedError)


@pytest.mark.parametrize("error", [RuntimeError("Unable to initialize backend 'tpu': in use.\nmore"), AssertionError()])
def test_devices_that_cannot_start_are_one_sentence(monkeypatch, error):
    def refuse():
        raise error

    monkeypatch.setenv("JAX_PLATFORMS", "tpu")
    monkeypatch.setattr(jax, "local_devices", refuse)
    with pytest.raises(UserError) as caught:
        processes.local_devices()
    reason = " (Unable to initialize backend 'tpu': in use)" if str(error) else ""
    start, end = "JAX cannot start the devices of JAX_PLATFORMS='tpu'", "or set JAX_PLATFORMS=cpu."
    assert str(caught.value).startswith(f"{start}{reason};") and str(caught.value).endswith(end)
