"""Is a file an image that training can read to its end?"""

import io
import warnings
from collections import Counter

from PIL import Image, UnidentifiedImageError

from ltpml_jax.data import augment

FORMATS = ("JPEG", "MPO", "PNG")  # MPO is a JPEG with further pictures behind the first

NEITHER = ", neither JPEG nor PNG"


def kind(reason: str) -> str:
    """The word for a reason: "missing", "corrupt", or "of another kind" for what is no such image and not meant so."""
    if reason == "missing":
        return reason
    return "of another kind" if reason.endswith(NEITHER) else "corrupt"


def counted(reasons: list[str], verb: str = "") -> str:
    """How many there are of each kind, "of another kind" only where there are some; `verb` follows the first number."""
    found = Counter(map(kind, reasons))
    other = found["of another kind"]
    text = f"{found['missing']} {verb}missing, {found['corrupt']} corrupt"
    return f"{text}, {other} of another kind" if other else text


def fault(data: bytes) -> str:
    """What is wrong with the bytes of an image file, a few words; "" where nothing is.

    Two decoders read every image, and either may refuse it; an image that passes is read by the training's own.
    """
    if not data:
        return "the file is empty"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes and of broken EXIF blocks, which do not matter
            form = _read_to_the_end(data)
    except UnidentifiedImageError:
        return "not an image file"
    except Exception as error:  # each of Pillow's formats raises kinds of its own
        return str(error) or type(error).__name__
    if form not in FORMATS:
        return f"a {form} file{NEITHER}"
    try:
        augment.decode(data)
    except Exception as error:  # a ValueError of ours, or what OpenCV has against its size
        return str(error) or type(error).__name__
    return ""


def _read_to_the_end(data: bytes) -> str:
    """The format of an image, after reading all of it at an eighth of its size, where the format can do that."""
    with Image.open(io.BytesIO(data)) as image:
        form = image.format or "strange"
        if form in FORMATS:
            image.draft(image.mode, (max(image.width // 8, 1), max(image.height // 8, 1)))
            image.load()
    return form
