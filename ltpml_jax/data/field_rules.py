"""What fields of the config ask of each other."""

from typing import Any

from ltpml_jax.errors import UserError


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


# Field -> the one that decides whether it is used, and with which of its values it is.
_USED = {
    "data.missing_rate": ("data.noise", ("missing",)),
    "data.partial_rate": ("data.noise", ("partial", "tail_biased")),
    "optim.cosine_end": ("optim.schedule", ("cosine",)),
    "optim.drop_epochs": ("optim.schedule", ("step",)),
    "optim.drop_every": ("optim.schedule", ("step",)),
    "noise.flip_rate": ("noise.rates", ("given",)),
    "noise.missing_rate": ("noise.rates", ("given",)),
}


def check_used(config: Any) -> None:
    """Raise UserError for a field without effect, as others are, for runs that begin: comparisons would list it.

    Runs that were trained with one can still be opened.
    """
    for name, (deciding, kinds) in _USED.items():
        value, kind = (config[path.partition(".")[0]][path.partition(".")[2]] for path in (name, deciding))
        if value and kind not in kinds:
            nothing = {str: "''", tuple: "()"}.get(type(value), "0")
            raise UserError(
                f"config.{name} is {value!r}, but config.{deciding}={kind} does not use it; set it to {nothing}, or "
                f"{deciding} to {' or '.join(kinds)}."
            )
    if config.optim.schedule == "step" and not (config.optim.drop_epochs or config.optim.drop_every):
        raise UserError(
            "config.optim.schedule is 'step', but the rate never drops; set drop_epochs or drop_every, or the schedule "
            "to constant."
        )
