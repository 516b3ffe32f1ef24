"""Measurements: each prints ratios or a table from one run; none is a test."""
