"""Names for types that have none of their own."""

from typing import Any, TypeAlias

# An ml_collections.ConfigDict with the fields of configs/default.py. To a type checker each of its fields is a union
# of all that a config can hold; Any says the same and keeps the core importable without ml_collections.
Config: TypeAlias = Any
