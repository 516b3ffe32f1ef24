"""From a listing to a prepared dataset on disk."""
