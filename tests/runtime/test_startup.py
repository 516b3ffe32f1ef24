"""What a process of a command begins with."""

import gc
import signal

import pytest

from ltpml_jax.runtime import preemption, startup


@pytest.fixture
def restored():
    handler, thresholds, callbacks = signal.getsignal(signal.SIGINT), gc.get_threshold(), gc.callbacks[:]
    yield
    signal.signal(signal.SIGINT, handler)
    gc.set_threshold(*thresholds)
    gc.callbacks[:] = callbacks
    gc.unfreeze()


def test_garbage_is_looked_for_once_after_many_objects_and_then_as_always(restored):
    gc.collect()
    gc.set_threshold(*(usual := (700, 10, 10)))
    looks = []
    gc.callbacks.append(lambda phase, info: looks.append(phase) if phase == "start" else None)
    startup.begin()
    assert signal.getsignal(signal.SIGINT) is preemption.end_at_once
    kept = [[] for _ in range(startup.STAYING - 50_000)]
    assert not looks
    kept += [[] for _ in range(60_000)]
    assert looks and gc.get_threshold() == usual and gc.get_freeze_count() > startup.STAYING
    seen = len(looks)
    kept += [[] for _ in range(10_000)]
    assert len(looks) > seen
