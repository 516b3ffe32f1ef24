"""Pickles from the internet, read without running anything in them."""

from ltpml_jax.safe_pickle.reader import load, load_npy, read

__all__ = ["load", "load_npy", "read"]
