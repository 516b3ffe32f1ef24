"""Readers of people's own labels: CSV, Parquet, COCO json, VOC XML."""
