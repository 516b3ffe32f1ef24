"""Check what a run needs of its machines: `ltpml preflight` with the flags of `ltpml train`."""

from ltpml_jax.cli import Command
from ltpml_jax.commands import train

COMMAND = Command(
    "Check versions, devices, folders and data of a run without training.",
    train.define,
    ("config", "workdir"),
    lambda values: train.start(values, check=True),
    note=train.FIELDS,
    compiles=True,
)
