"""The layouts of golden files beside NDLP's own, each in a file of its family; replay.py goes through them in order."""

from tests.layouts import one_network
from tests.layouts.base import Layout

LAYOUTS: tuple[Layout, ...] = (*one_network.LAYOUTS,)
