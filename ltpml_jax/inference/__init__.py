"""Predictions on images that belong to no dataset: what to read, what to decide, what to write."""
