"""Eight virtual CPU devices for every test; set before JAX starts its backends. Ranks are promoted nowhere."""

import os
import subprocess

import pytest

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"


@pytest.fixture(autouse=True)
def no_processes_without_the_marker(request, monkeypatch):
    """A test that starts a process says so by its marker, so that `-m "not processes"` stays quick."""
    if "processes" in request.keywords:
        return

    def refuse(*arguments, **options):
        raise AssertionError("mark this test with @pytest.mark.processes: it starts a process")

    monkeypatch.setattr(subprocess, "Popen", refuse)
