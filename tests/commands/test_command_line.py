"""What all commands have in common."""

import pytest
from absl import flags

from ltpml_jax import cli
from ltpml_jax.commands.command_line import COMMANDS
from ltpml_jax.errors import UserError


@pytest.mark.parametrize("name", COMMANDS)
def test_a_url_is_a_place_to_write_to_for_makers_of_data_alone(name):
    command, values = COMMANDS[name], flags.FlagValues()
    command.define(values)
    places = {flag: f"gs://{flag}" for flag in ("workdir", "out") if flag in values}
    with pytest.raises(UserError) as caught:
        cli.parse(name, command, [f"--{flag}={place}" for flag, place in places.items()])
    refused = [
        flag for flag in places if f"--{flag}=gs://{flag} is a URL; mount it, and give a path." in str(caught.value)
    ]
    assert refused == [flag for flag in places if flag == "workdir" or name not in ("prepare", "corrupt")]
