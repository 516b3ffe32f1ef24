"""Networks, in Flax NNX."""
