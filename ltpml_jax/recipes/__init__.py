"""Published settings, and what may stand after the colon of a config file."""
