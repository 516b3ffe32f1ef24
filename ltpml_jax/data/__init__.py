"""Data: from records to batches."""
