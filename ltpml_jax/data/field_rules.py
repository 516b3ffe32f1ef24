"""What fields of the config's data section ask of each other."""

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


def check_used(data: Any) -> None:
    """Raise UserError for a rate that this kind of noise does not use, for runs that begin: comparisons would list it.

    Runs that were trained with one can still be opened.
    """
    uses = {"missing_rate": ("missing",), "partial_rate": ("partial", "tail_biased")}
    for name, kinds in uses.items():
        if data[name] and data.noise not in kinds:
            raise UserError(
                f"config.data.{name} is {data[name]:g}, but config.data.noise={data.noise} does not use it; set it to "
                f"0, or the noise to {' or '.join(kinds)}."
            )
