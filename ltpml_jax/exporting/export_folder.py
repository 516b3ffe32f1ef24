"""The folder that `ltpml export` writes: which files can be made of a run, and all of them at once or none."""

import importlib.util
import io
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ltpml_jax.errors import UserError, nearest
from ltpml_jax.exporting import descriptions, model_card, onnx_graph, stablehlo, torch_names
from ltpml_jax.exporting.exported_run import Exportable
from ltpml_jax.exporting.torch_names import LinearOnPooled
from ltpml_jax.runtime.files import writing

log = logging.getLogger(__name__)
FORMATS = ("timm", "safetensors", "stablehlo", "onnx")
INSTALL = 'pip install "ltpml_jax[onnx]"'


def export(run: Exportable, folder: Path, formats: Sequence[str] = ()) -> list[str]:
    """Write a run's model in some of FORMATS into a new folder, whole or not at all; returns the files' names.

    Args:
        run: what to export.
        folder: does not exist yet, or is empty.
        formats: none for all that this run and what is installed allow; a line of the log says which are left out.

    Raises:
        UserError: a format that is unknown or cannot be made of this run, logits that are not finite, a folder that is
            not empty or cannot be written.
    """
    check_formats(formats)
    check_folder(folder)
    form = torch_names.linear_form(run.model, run.headline)
    chosen = _chosen(run, form, formats)
    files = _files(run, form, chosen)
    with writing(f"The folder {folder}", "give another --out"):
        _write(folder, files)
    log.info("Written to %s: %s", folder, ", ".join(files))
    return list(files)


def check_formats(formats: Sequence[str]) -> None:
    """Raise UserError for a format that there is not."""
    for name in formats:
        if name not in FORMATS:
            near = nearest(name, FORMATS)
            raise UserError(f"There is no format {name!r}; choose of {', '.join(FORMATS)} (nearest: {near}).")


def check_folder(folder: Path) -> None:
    """Raise UserError where the folder is a file, or has something in it: nothing of the user's is replaced."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        kind = "is not empty" if folder.is_dir() else "is no folder"
        raise UserError(f"{folder} {kind}; give an --out that does not exist yet, or remove it.")


def obstacles(run: Exportable, form: LinearOnPooled | None) -> dict[str, str]:
    """Why a format cannot be made, one sentence by format."""
    if form is None:
        several = (
            f"The prediction of this {run.about['method']!r} run is not one ResNet with a linear layer on it, which is "
            "all that timm, safetensors and onnx are written for; give --formats=stablehlo."
        )
        return dict.fromkeys(("timm", "safetensors", "onnx"), several)
    found = {}
    if run.about["backbone"] == torch_names.OWN:
        found["timm"] = (
            f"timm has no architecture {torch_names.OWN}; give --formats=safetensors,stablehlo,onnx, the first of them "
            "under this package's own names."
        )
    if importlib.util.find_spec("onnx") is None:
        found["onnx"] = f"The format onnx needs a package that is not installed: {INSTALL}."
    return found


def _chosen(run: Exportable, form: LinearOnPooled | None, formats: Sequence[str]) -> list[str]:
    against = obstacles(run, form)
    for name in formats:
        if name in against:
            raise UserError(against[name])
    if not formats:
        for sentence in dict.fromkeys(against.values()):
            log.info("Left out %s: %s", ", ".join(name for name in against if against[name] == sentence), sentence)
    return [name for name in FORMATS if name in formats or not (formats or name in against)]


def _files(run: Exportable, form: LinearOnPooled | None, formats: Sequence[str]) -> dict[str, bytes]:
    """The content of every file by name."""
    images, logits = run.check()
    if not np.isfinite(logits).all():
        raise UserError(
            f"The network of {run.workdir} gives logits that are not finite; train again with a lower "
            "config.optim.learning_rate."
        )
    files = {"preprocess.json": descriptions.as_json(descriptions.preprocess(run)), "check.npz": _npz(images, logits)}
    if form is not None and {"timm", "safetensors"} & set(formats):
        files["model.safetensors"] = torch_names.safetensors(form, run.about["backbone"])
    if form is not None and "timm" in formats:
        files["config.json"] = descriptions.as_json(descriptions.timm_config(run, form))
    if form is not None and "onnx" in formats:
        files["model.onnx"] = onnx_graph.serialise_graph(form, run.size, run.class_names)
    if "stablehlo" in formats:
        files["model.jaxexport"] = stablehlo.serialise(run)
    in_torch = "model.safetensors" in files and run.about["backbone"] != torch_names.OWN
    kinds = {*formats, *(["torchvision"] if in_torch else [])}
    return files | {model_card.FILE: model_card.card(run, [name for name in model_card.SNIPPETS if name in kinds])}


def _npz(images: np.ndarray, logits: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, images=images, logits=logits)
    return content.getvalue()


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """Write into a folder beside it, which then takes its place.

    A folder that is there stays, and gets the files out of one in it: it may be a shell's own, a link or a mount.
    """
    folder = folder.absolute()
    there, beside = folder.is_dir(), f".{folder.name}.{os.getpid()}.tmp"
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = folder / beside if there else folder.with_name(beside)
    try:
        scratch.mkdir()
        for name, content in files.items():
            (scratch / name).write_bytes(content)
        if not there:
            scratch.replace(folder)
            return
        for name in files:
            (scratch / name).replace(folder / name)
        scratch.rmdir()
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
