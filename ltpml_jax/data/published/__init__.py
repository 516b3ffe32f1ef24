"""Readers of the lists and pickles of the published datasets."""
