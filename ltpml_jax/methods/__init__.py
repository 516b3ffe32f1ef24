"""Ways to learn from such labels, each a file of pure functions; `all_methods` has them by name.

Nothing is imported here, so that what only needs `label_states` does not import JAX.
"""
