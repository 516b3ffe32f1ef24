"""Measures, predictions and the report of a run."""
