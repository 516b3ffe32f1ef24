"""What fields of the config ask of each other."""

from collections.abc import Mapping
from typing import Any

from ltpml_jax.errors import UserError
from ltpml_jax.methods.settings import Setting


def check_together(data: Any) -> None:
    """Raise UserError for fields of the data section that contradict each other."""
    if data.fold and data.validation:
        raise UserError(
            f"config.data.fold is {data.fold!r} and config.data.validation {data.validation:g}; set one to '' or 0."
        )
    if data.min_crop > data.max_crop:
        raise UserError(f"config.data.min_crop is {data.min_crop:g}; set it to at most max_crop.")
    if data.candidates and data.noise != "partial":
        raise UserError(
            f"config.data.noise is {data.noise!r}, but the labels are those of {data.candidates} "
            "(config.data.candidates); leave one of the two out."
        )
    if data.noise in ("missing", "single") and data.unknown == "candidate":
        what = f"with config.data.noise={data.noise} nearly every label would be a candidate"
        raise UserError(f"config.data.unknown is 'candidate'; set it to 'unknown' or 'negative', as {what}.")


def check_used(config: Any, settings: Mapping[str, Setting]) -> None:
    """Raise UserError for a field without effect, as others are, for runs that begin: comparisons would list it.

    Runs that were trained with one can still be opened. settings: all fields by dotted name.
    """
    for name, used in ((name, setting.used) for name, setting in settings.items() if setting.used):
        section, _, field = name.partition(".")
        value, kind = config[section][field], config[section][used.by]
        if value and kind not in used.kinds:
            nothing = {str: "''", tuple: "()"}.get(type(value), "0")
            raise UserError(
                f"config.{name} is {value!r}, but config.{section}.{used.by}={kind} does not use it; set it to "
                f"{nothing}, or {section}.{used.by} to {' or '.join(used.kinds)}."
            )
    if config.optim.schedule == "step" and not (config.optim.drop_epochs or config.optim.drop_every):
        raise UserError(
            "config.optim.schedule is 'step', but the rate never drops; set drop_epochs or drop_every, or the schedule "
            "to constant."
        )
