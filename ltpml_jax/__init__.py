"""Long-tailed partial multi-label learning in JAX: NDLP and the systems it is compared with."""

__version__ = "0.1.0"
