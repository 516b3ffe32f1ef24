"""The layouts of golden files beside NDLP's own, each in a file of its family; replay.py goes through them in order."""

from tests.layouts import comic, one_network, pairs, published
from tests.layouts.base import Layout

LAYOUTS: tuple[Layout, ...] = (*pairs.LAYOUTS, *published.LAYOUTS, *comic.LAYOUTS, *one_network.LAYOUTS)
