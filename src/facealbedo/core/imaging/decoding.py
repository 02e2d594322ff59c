"""Bytes of an image file to an upright photo.

Decoding never fails with anything but an `ImageError`, whose `Reason` is one of a closed set, and needs little memory
even for a huge photo. What had to be assumed or changed on the way (a colour profile, transparency, a smaller working
size) is said in `DecodedImage.notes`.

Colour: an embedded ICC profile is applied; without one the values count as sRGB, and CMYK is converted without colour
management. Transparent pixels are laid over mid-grey: black or white would draw hard edges around hair and would shift
estimates of the light. PNG's ``gAMA`` and ``cHRM`` are not read: most programs that write them write them wrongly.
"""

from __future__ import annotations

import io
import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, UInt, UInt8, UInt16
from numpy import ndarray
from PIL import Image
from torch import Tensor

from facealbedo.core.colour import srgb_to_linear
from facealbedo.core.errors import FaceAlbedoError
from facealbedo.core.imaging import profiles

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
"""Formats that are opened, by Pillow's names (its JPEG includes the MPO of phones). A list, because Pillow also knows
formats that start other programs."""

MATTE_SRGB = 128
"""sRGB grey under transparent pixels."""
_MATTE_NOTE = "transparent parts laid over mid-grey"

EXIF_ORIENTATION = 0x0112

# Beginnings of files that are pictures, but not of a kind that is read here.
_FOREIGN_STARTS = (
    *(b"8BPS", b"%PDF", b"v/1\x01", b"#?RADIANCE", b"<svg", b"\x00\x00\x00\x0cJXL", b"\xff\x0a"),
    *(b"\x00\x00\x00\x0cjP  ", b"qoif", b"P5\n", b"P6\n", b"FUJIFILMCCD-RAW"),
)
_FOREIGN_BRANDS = tuple(b"ftyp" + brand for brand in (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"crx "))
# Beginnings of the formats that are read: when Pillow does not know such a file, its header is damaged.
_OWN_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"RIFF", b"II*\x00", b"MM\x00*")
_OWN_BRANDS = (b"ftypavif", b"ftypavis")


class Reason(StrEnum):
    """Why a file did not become an image."""

    EMPTY = "empty_file"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    UNSUPPORTED_PIXELS = "unsupported_pixels"
    DAMAGED = "damaged_image"
    TOO_SMALL = "image_too_small"
    TOO_LARGE = "image_too_large"

    @property
    def sentence(self) -> str:
        """What is wrong and what to do, for a person."""
        return _SENTENCES[self]


_SENTENCES = {
    Reason.EMPTY: "the file is empty",
    Reason.NOT_AN_IMAGE: "the file is not an image, whatever its name says",
    Reason.UNSUPPORTED_FORMAT: (
        "this kind of picture is not read: save it as JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF and try again"
    ),
    Reason.UNSUPPORTED_PIXELS: "its kind of pixels is not read: save it with 8 or 16 bits a channel and try again",
    Reason.DAMAGED: "the file is damaged or cut off: get a complete copy and try again",
    Reason.TOO_SMALL: "the picture is too small to show a face",
    Reason.TOO_LARGE: "the picture is larger than allowed: make it smaller or raise the limit",
}


class ImageError(FaceAlbedoError):
    """A file that is no usable image.

    Attributes:
        reason: Which of the known reasons.
        detail: Numbers or the decoder's own words, for the curious; may be empty.
    """

    def __init__(self, reason: Reason, detail: str = ""):
        super().__init__(f"{reason.sentence} ({detail})" if detail else reason.sentence)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class DecodeLimits:
    """Which sizes are decoded, and how large the result may be.

    Attributes:
        min_side_px: Images with a shorter side are refused.
        max_megapixels: Larger images are refused before their pixels are read.
        working_megapixels: Larger images are made smaller by a power of two (while decoding where the format can).
    """

    min_side_px: int = 16
    max_megapixels: float = 120.0
    working_megapixels: float = 36.0

    def __post_init__(self) -> None:
        if not (self.min_side_px >= 1 and self.max_megapixels > 0 and self.working_megapixels > 0):
            raise ValueError(f"decode limits must be positive, got {self}")


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """An upright photo.

    Attributes:
        pixels_srgb: sRGB-encoded, 8 or 16 bits a channel.
        original_width, original_height: Size of the upright photo in its file, pixels; larger than that of
            ``pixels_srgb`` when the photo was made smaller.
        format: Pillow's name of the file's format, or "array".
        notes: Sentences about what was assumed or changed.
    """

    pixels_srgb: UInt8[ndarray, "height width 3"] | UInt16[ndarray, "height width 3"]
    original_width: int
    original_height: int
    format: str
    notes: tuple[str, ...] = ()

    @classmethod
    def from_srgb(cls, pixels_srgb: ndarray) -> DecodedImage:
        """Wrap pixels that somebody else decoded.

        Args:
            pixels_srgb: [height, width, 3], sRGB-encoded, uint8 or uint16, upright.

        Raises:
            ValueError: Another shape or type.
        """
        shape, dtype = pixels_srgb.shape, pixels_srgb.dtype
        if len(shape) != 3 or shape[2] != 3 or min(shape) < 1 or dtype not in (np.uint8, np.uint16):
            raise ValueError(f"expected sRGB pixels [height, width, 3] as uint8 or uint16, got {dtype} {list(shape)}")
        return cls(np.ascontiguousarray(pixels_srgb), shape[1], shape[0], "array")

    @property
    def height(self) -> int:
        """Rows of ``pixels_srgb``."""
        return int(self.pixels_srgb.shape[0])

    @property
    def width(self) -> int:
        """Columns of ``pixels_srgb``."""
        return int(self.pixels_srgb.shape[1])

    @property
    def bits(self) -> int:
        """Bits a channel: 8 or 16."""
        return 8 * self.pixels_srgb.dtype.itemsize

    @property
    def srgb(self) -> UInt8[ndarray, "height width 3"]:
        """The pixels with 8 bits a channel, sRGB-encoded: what face detectors take. A copy only when there are 16."""
        if self.pixels_srgb.dtype == np.uint8:
            return self.pixels_srgb
        return ((self.pixels_srgb.astype(np.uint32) + 128) // 257).astype(np.uint8)

    def linear(self) -> Float[Tensor, "3 height width"]:
        """The whole photo in linear RGB: 12 bytes a pixel, made anew by each call."""
        pixels = self.linear_pixels(0, self.height, 0, self.width)
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def linear_pixels(self, top: int, bottom: int, left: int, right: int) -> Float32[ndarray, "rows columns 3"]:
        """Linear RGB of the rows ``top:bottom`` and columns ``left:right``, channels last."""
        return _linear_table(self.bits)[self.pixels_srgb[top:bottom, left:right]]


@lru_cache(maxsize=2)
def _linear_table(bits: int) -> Float32[ndarray, "levels"]:
    """Linear value of every sRGB code of this many bits."""
    codes = torch.arange(2**bits, dtype=torch.float64) / (2**bits - 1)
    return srgb_to_linear(codes).to(torch.float32).numpy()


def decode_image(data: bytes, limits: DecodeLimits | None = None) -> DecodedImage:
    """Decode the bytes of an image file; of several frames or pages, the first.

    Args:
        data: Content of a JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF file.
        limits: Sizes that are accepted.

    Returns:
        Upright sRGB pixels, colour profile applied, opaque.

    Raises:
        ImageError: The bytes are no image, or one that cannot or must not be used. Nothing else is raised.
    """
    limits = limits or DecodeLimits()
    if not data:
        raise ImageError(Reason.EMPTY)
    try:
        with _pillow_limits(limits):
            return _decode(data, limits)
    except ImageError:
        raise
    except (Image.DecompressionBombError, MemoryError) as error:
        raise ImageError(Reason.TOO_LARGE, _one_line(error)) from error
    except Exception as error:
        # Pillow's readers answer damaged bytes with OSError, SyntaxError, ValueError, struct.error, zlib.error,
        # KeyError, IndexError, OverflowError and more; the set is open, so all of them are caught at this one place.
        raise ImageError(Reason.DAMAGED, _one_line(error)) from error


def _decode(data: bytes, limits: DecodeLimits) -> DecodedImage:
    notes: list[str] = []
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.UnidentifiedImageError as error:
        raise ImageError(_reason_of_unknown(data)) from error
    width, height = image.size
    _check_size(width, height, limits)
    factor = _reduction(width * height, limits)
    is_deep = _is_sixteen_bit(image)
    if factor > 1:
        image.draft(None, (width // factor, height // factor))  # only JPEG can; the other formats ignore it
    image.load()

    orientation = _orientation(image, notes)
    pixels = _deep_pixels(image, data, notes) if is_deep else None
    if pixels is None:
        pixels = _shallow_pixels(_reduced(image, round(factor * image.width / width)), notes)
    if factor > 1:
        notes.append(f"made {factor} times smaller for work: it has {width * height / 1e6:.0f} megapixels")
        size = (math.ceil(width / factor), math.ceil(height / factor))
        if pixels.shape[:2] != size[::-1]:
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    upright = np.ascontiguousarray(_turned(pixels, orientation))
    if orientation >= 5:
        width, height = height, width
    return DecodedImage(upright, width, height, str(image.format), tuple(notes))


def _check_size(width: int, height: int, limits: DecodeLimits) -> None:
    if min(width, height) < limits.min_side_px:
        raise ImageError(Reason.TOO_SMALL, f"{width} x {height} pixels, at least {limits.min_side_px} a side")
    if width * height > 1e6 * limits.max_megapixels:
        detail = f"{width * height / 1e6:.0f} megapixels, at most {limits.max_megapixels:g}"
        raise ImageError(Reason.TOO_LARGE, detail)


def _reduction(pixels: int, limits: DecodeLimits) -> int:
    """Smallest power of two (what JPEG can do while decoding) that brings the image to the working size."""
    factor = 1
    while pixels > 1e6 * limits.working_megapixels * factor**2:
        factor *= 2
    return factor


def _reduced(image: Image.Image, factor: int) -> Image.Image:
    """Average blocks of pixels early, before there are copies in other modes, where the mode allows it."""
    if factor > 1 and image.mode in {"L", "RGB", "CMYK", "YCbCr", "LAB"} and not image.has_transparency_data:
        return image.reduce(factor)
    return image


def _is_sixteen_bit(image: Image.Image) -> bool:
    """Whether the file holds 16 bits a channel; Pillow itself keeps them only in grey images."""
    tiles = getattr(image, "tile", None) or ()
    raw_modes = [tile[3][0] if isinstance(tile[3], tuple) and tile[3] else tile[3] for tile in tiles]
    return image.mode.startswith("I;16") or any(isinstance(raw, str) and ";16" in raw for raw in raw_modes)


def _deep_pixels(image: Image.Image, data: bytes, notes: list[str]) -> UInt16[ndarray, "height width 3"] | None:
    """Return 16-bit sRGB pixels, or None where only the 8-bit way is right.

    Pillow has read the file to its end before, so that a damaged file does not come this far.
    """
    is_grey = image.mode.startswith("I;16")
    if profiles.transform_to_srgb(image, "L" if is_grey else "RGB", []) is not None:
        notes.append("taken with 8 of its 16 bits, to apply its colour profile")
        return None
    if is_grey:
        return np.repeat(np.asarray(image).astype(np.uint16)[..., None], 3, axis=2)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.shape[:2] != (image.height, image.width):
        notes.append("taken with 8 of its 16 bits")
        return None
    blue_green_red = pixels[..., :3] if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    alpha = pixels[..., 3:].astype(np.float32) / 65535 if pixels.ndim == 3 else np.ones(1, np.float32)
    if alpha.size and alpha.min() < 1:
        notes.append(_MATTE_NOTE)
        blue_green_red = np.rint(blue_green_red * alpha + MATTE_SRGB * 257 * (1 - alpha)).astype(np.uint16)
    return blue_green_red[..., ::-1]


def _shallow_pixels(image: Image.Image, notes: list[str]) -> UInt8[ndarray, "height width 3"]:
    """Opaque 8-bit sRGB pixels of a loaded image, colour profile applied."""
    if image.mode in {"I", "F"}:
        raise ImageError(Reason.UNSUPPORTED_PIXELS, f"mode {image.mode}")
    alpha = None
    if image.mode.startswith("I;16"):
        grey = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
        image = profiles.with_profile(grey, image.info)
    elif image.has_transparency_data:
        whole = image.convert("RGBA")
        alpha = whole.getchannel("A")
        image = profiles.with_profile(whole.convert("RGB"), image.info)
    elif image.mode in {"1", "P", "HSV", "RGBX"}:
        image = profiles.with_profile(image.convert("L" if image.mode == "1" else "RGB"), image.info)
    colours = profiles.to_srgb(image, notes)
    if alpha is not None and np.asarray(alpha).min() < 255:
        notes.append(_MATTE_NOTE)
        colours = Image.composite(colours, Image.new("RGB", colours.size, (MATTE_SRGB,) * 3), alpha)
    return np.asarray(colours)


def _orientation(image: Image.Image, notes: list[str]) -> int:
    """EXIF orientation of a loaded image, 1 (upright) when there is none or it makes no sense."""
    try:
        value = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception as error:  # as in decode_image: what a damaged EXIF block raises is an open set
        notes.append(f"its EXIF data is unreadable, taken as upright ({_one_line(error)})")
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turned(pixels: UInt[ndarray, "rows columns 3"], orientation: int) -> UInt[ndarray, "height width 3"]:
    """Undo an EXIF orientation: a view of the upright pixels."""
    swapped = pixels.swapaxes(0, 1) if orientation >= 5 else pixels
    rows = -1 if orientation in {3, 4, 7, 8} else 1
    columns = -1 if orientation in {2, 3, 6, 7} else 1
    return swapped[::rows, ::columns]


def _reason_of_unknown(data: bytes) -> Reason:
    if data[4:].startswith(_FOREIGN_BRANDS) or data[:64].lstrip().startswith(_FOREIGN_STARTS):
        return Reason.UNSUPPORTED_FORMAT
    is_own = data.startswith(_OWN_STARTS) or data[4:].startswith(_OWN_BRANDS)
    return Reason.DAMAGED if is_own else Reason.NOT_AN_IMAGE


_pillow_lock = threading.RLock()


@contextmanager
def _pillow_limits(limits: DecodeLimits) -> Iterator[None]:
    """Replace Pillow's own guard against huge images, which is a global, by these limits, and mute its warnings."""
    with _pillow_lock:
        previous = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = math.ceil(1e6 * limits.max_megapixels)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            Image.MAX_IMAGE_PIXELS = previous


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
