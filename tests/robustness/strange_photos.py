"""Photos that are wrong in every way we could think of, made by code, always the same bytes.

Each kind says what may become of it: `done`, `rejected` (no usable face) or `failed` (no usable picture), and words of
the reason. `None` for the words means any documented reason: what random damage does is not known beforehand.
"""

from __future__ import annotations

import gzip
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

DONE, REJECTED, FAILED = "done", "rejected", "failed"
ANY = (DONE, REJECTED, FAILED)


@dataclass(frozen=True)
class StrangePhoto:
    """A file's content, the suffix of its name, and what may become of it."""

    kind: str
    data: bytes
    statuses: tuple[str, ...]
    words: str | None = None
    suffix: str = ".jpg"


@cache
def face() -> Image.Image:
    """A face in 240 x 260 pixels (NASA, public domain)."""
    picture = Image.open(io.BytesIO((files("skimage.data") / "astronaut.png").read_bytes())).convert("RGB")
    return picture.crop((110, 0, 350, 260))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Return the image as a file's content."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def no_pictures() -> Iterator[StrangePhoto]:
    """Content that is no picture at all, or one of a kind that is not read."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as stream:
        stream.writestr("face.jpg", encoded(face(), "JPEG"))
    unknown: dict[str, bytes] = {
        "one byte": b"\xff",
        "text": b"I am not a picture",
        "html": b"<!doctype html><script>alert(1)</script>",
        "zip": archive.getvalue(),
        "gzip": gzip.compress(encoded(face(), "JPEG"), mtime=0),
        "elf": b"\x7fELF" + bytes(300),
        "pickle": b"cos\nsystem\n(S'touch harmed'\ntR.",
        "zeros": bytes(5000),
        "noise": random.Random(1).randbytes(5000),
        "utf-16 text": "no picture".encode("utf-16"),
        "bmp magic only": b"BM",
    }
    foreign: dict[str, bytes] = {
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "pdf": b"%PDF-1.7\n" + bytes(100),
        "psd": b"8BPS\x00\x01" + bytes(100),
        "heic": b"\x00\x00\x00\x18ftypheic" + bytes(100),
        "jpeg xl": b"\xff\x0a" + bytes(100),
        "jpeg 2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(100),
        "qoi": b"qoif" + struct.pack(">II", 100, 100) + bytes(100),
        "radiance hdr": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 10 +X 10\n" + bytes(400),
        "portable pixmap": b"P6\n10 10\n255\n" + bytes(300),
    }
    yield StrangePhoto("empty", b"", (FAILED,), "the file is empty")
    for kind, data in unknown.items():
        yield StrangePhoto(kind, data, (FAILED,), "not an image")
    for kind, data in foreign.items():
        yield StrangePhoto(kind, data, (FAILED,), "kind of picture is not read")
    for kind, value in (("exr", 0.5), ("exr of NaN", float("nan")), ("exr below 0", -3.0)):
        yield StrangePhoto(kind, exr(np.full((32, 64, 3), value, np.float32)), (FAILED,), "kind of picture is not read")
    beginnings = {
        "jpeg magic": b"\xff\xd8\xff\xe0",
        "png magic": b"\x89PNG\r\n\x1a\n",
        "gif magic": b"GIF89a",
        "webp magic": b"RIFF\x10\x00\x00\x00WEBP",
        "tiff magic": b"II*\x00\x08\x00\x00\x00",
    }
    for kind, magic in beginnings.items():
        yield StrangePhoto(kind, magic, (FAILED,), "damaged")


def exr(pixels: np.ndarray) -> bytes:
    """Return an OpenEXR file."""
    import tempfile
    from pathlib import Path

    import OpenEXR

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "map.exr"
        OpenEXR.File({"type": OpenEXR.scanlineimage}, {"RGB": pixels}).write(str(path))
        return path.read_bytes()


def colour_modes() -> Iterator[StrangePhoto]:
    """A good face with other kinds of pixels."""
    picture = face()
    grey16 = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    floats = np.asarray(picture.convert("L"), np.float32) / 255
    clear = picture.copy()
    clear.putalpha(0)
    half = picture.copy()
    half.putalpha(128)
    wide = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    usable: dict[str, tuple[bytes, str]] = {
        "grey": (encoded(picture.convert("L")), ".png"),
        "grey and alpha": (encoded(picture.convert("LA")), ".png"),
        "palette": (encoded(picture.convert("P")), ".png"),
        "cmyk jpeg": (encoded(picture.convert("CMYK"), "JPEG"), ".jpg"),
        "cmyk tiff": (encoded(picture.convert("CMYK"), "TIFF"), ".tif"),
        "lab tiff": (encoded(_lab(picture), "TIFF"), ".tif"),
        "16 bit grey": (encoded(grey16), ".png"),
        "half transparent": (encoded(half), ".png"),
        "lossless webp": (encoded(picture, "WEBP", lossless=True), ".webp"),
        "avif": (encoded(picture, "AVIF"), ".avif"),
        "bmp": (encoded(picture, "BMP"), ".bmp"),
        "progressive jpeg": (encoded(picture, "JPEG", progressive=True), ".jpe"),
        "rgb jpeg": (encoded(picture, "JPEG", keep_rgb=True), ".jpeg"),
        "many pages": (encoded(picture, "TIFF", save_all=True, append_images=[picture] * 3), ".tiff"),
        "moving webp": (encoded(picture, "WEBP", save_all=True, append_images=[picture]), ".webp"),
        "two profiles' worth": (encoded(picture, "JPEG", icc_profile=wide * 2), ".jpg"),
        "cut profile": (encoded(picture, "JPEG", icc_profile=wide[:200]), ".jpg"),
        "profile of noise": (encoded(picture, icc_profile=random.Random(2).randbytes(300)), ".png"),
        "exif of noise": (encoded(picture, "JPEG", exif=b"Exif\x00\x00" + random.Random(3).randbytes(200)), ".jpg"),
        "exif orientation 99": (encoded(picture, "JPEG", exif=_orientation(99)), ".jpg"),
        "wrong suffix": (encoded(picture, "PNG"), ".gif"),
        "bytes after the end": (encoded(picture, "JPEG") + bytes(9999), ".jpg"),
        "comment of 60 kB": (encoded(picture, "JPEG", comment=b"x" * 60_000), ".jpg"),
    }
    for kind, (data, suffix) in usable.items():
        yield StrangePhoto(kind, data, (DONE,), suffix=suffix)
    for kind, image in (("black and white", picture.convert("1")), ("mirrored upside down", picture.rotate(180))):
        yield StrangePhoto(kind, encoded(image), ANY, suffix=".png")
    yield StrangePhoto("all transparent", encoded(clear), (REJECTED,), "no face", ".png")
    yield StrangePhoto("float tiff", encoded(Image.fromarray(floats), "TIFF"), (FAILED,), "pixels is not read", ".tif")
    floats = np.full_like(floats, np.nan)
    yield StrangePhoto("NaN tiff", encoded(Image.fromarray(floats), "TIFF"), (FAILED,), "pixels is not read", ".tif")
    whole = Image.fromarray(np.full((60, 60), -5, np.int32))
    yield StrangePhoto("32 bit tiff", encoded(whole, "TIFF"), (FAILED,), "pixels is not read", ".tif")


def _lab(picture: Image.Image) -> Image.Image:
    transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    return ImageCms.applyTransform(picture, transform)


def _orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def sizes() -> Iterator[StrangePhoto]:
    """Too small, too large, too long, and files that claim more than they hold."""
    flat = Image.new("RGB", (300, 300), (90, 90, 90))
    for kind, size in (("one pixel", (1, 1)), ("fifteen rows", (400, 15)), ("a line", (5000, 1))):
        yield StrangePhoto(kind, encoded(flat.resize(size)), (FAILED,), "too small", ".png")
    for kind, size in (("sixteen pixels", (16, 16)), ("a strip", (30_000, 20)), ("a column", (20, 30_000))):
        yield StrangePhoto(kind, encoded(flat.resize(size)), (REJECTED,), "no face", ".png")
    yield StrangePhoto("tiny face", encoded(face().resize((28, 30))), (REJECTED,), None, ".png")
    for kind, colour in (("black", 0), ("white", 255), ("grey card", 128)):
        yield StrangePhoto(kind, encoded(Image.new("RGB", (200, 200), (colour,) * 3)), (REJECTED,), "no face", ".png")
    static = np.random.default_rng(4).integers(0, 256, (200, 200, 3), np.uint8)
    yield StrangePhoto("static", encoded(Image.fromarray(static)), (REJECTED,), "no face", ".png")
    bomb = encoded(Image.new("1", (20_000, 20_000)), optimize=False, compress_level=9)
    yield StrangePhoto("bomb of 400 megapixels", bomb, (FAILED,), "larger than allowed", ".png")
    yield StrangePhoto("png of 2^31 pixels a side", png_claiming(2**31 - 1, 2**31 - 1), (FAILED,), None, ".png")
    yield StrangePhoto("png of 0 pixels", png_claiming(0, 0), (FAILED,), None, ".png")
    yield StrangePhoto("png, much promised", png_claiming(9000, 9000), (FAILED,), "damaged", ".png")
    gif = bytearray(encoded(flat.convert("P"), "GIF"))
    gif[6:10] = b"\xff\xff\xff\xff"
    yield StrangePhoto("gif of 65535 pixels a side", bytes(gif), (FAILED,), "larger than allowed", ".gif")
    bmp = bytearray(encoded(flat, "BMP"))
    bmp[18:26] = struct.pack("<ii", -300, -(2**31))
    yield StrangePhoto("bmp of negative size", bytes(bmp), (FAILED,), None, ".bmp")
    text = PngImagePlugin.PngInfo()
    text.add_text("bomb", "x" * 80_000_000, zip=True)
    yield StrangePhoto("text that unpacks to 80 MB", encoded(face(), pnginfo=text), ANY, None, ".png")
    profile = struct.pack(">I", 4) + b"bomb\x00\x00" + zlib.compress(bytes(80_000_000), 9)
    yield StrangePhoto("profile that unpacks to 80 MB", png_with(b"iCCP", profile), ANY, None, ".png")
    yield StrangePhoto("tiff whose pages go in a circle", circular_tiff(), ANY, None, ".tif")
    yield StrangePhoto("gif of 2000 frames", moving_gif(2000), (REJECTED,), "no face", ".gif")


def png_claiming(width: int, height: int) -> bytes:
    """Return a PNG with another size in its header (its checksum is right)."""
    data = bytearray(encoded(Image.new("RGB", (20, 20))))
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def png_with(kind: bytes, content: bytes) -> bytes:
    """Return the face as a PNG with a further chunk behind its header."""
    data = encoded(face())
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return data[:33] + chunk + data[33:]


def circular_tiff() -> bytes:
    """Return a TIFF whose directory names itself as the next."""
    data = bytearray(encoded(face(), "TIFF"))
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    struct.pack_into("<I", data, start + 2 + 12 * count, start)
    return bytes(data)


def moving_gif(frames: int) -> bytes:
    """Return a small GIF of many frames."""
    pictures = [Image.new("P", (20, 20), number % 200) for number in range(frames)]
    return encoded(pictures[0], "GIF", save_all=True, append_images=pictures[1:])


def damaged(per_format: int = 6) -> Iterator[StrangePhoto]:
    """Good photos cut off, or with flipped bytes, at places that a fixed seed chooses."""
    makers: dict[str, Callable[[], bytes]] = {
        ".jpg": lambda: encoded(face(), "JPEG"),
        ".png": lambda: encoded(face()),
        ".webp": lambda: encoded(face(), "WEBP"),
        ".tif": lambda: encoded(face(), "TIFF", compression="tiff_lzw"),
        ".gif": lambda: encoded(face(), "GIF"),
        ".avif": lambda: encoded(face(), "AVIF"),
        ".bmp": lambda: encoded(face(), "BMP"),
    }
    for number, (suffix, make) in enumerate(makers.items()):
        data = make()
        draw = random.Random(100 + number)
        for index in range(per_format):
            cut = draw.randrange(1, len(data))
            yield StrangePhoto(f"{suffix} cut {index}", data[:cut], ANY, suffix=suffix)
            changed = bytearray(data)
            for _ in range(draw.choice((1, 4, 64))):
                changed[draw.randrange(len(data) if index % 2 else min(300, len(data)))] ^= 1 << draw.randrange(8)
            yield StrangePhoto(f"{suffix} flipped {index}", bytes(changed), ANY, suffix=suffix)


def strange_photos(per_format: int = 6) -> list[StrangePhoto]:
    """Return every kind, the damaged ones ``per_format`` times a format."""
    return [*no_pictures(), *colour_modes(), *sizes(), *damaged(per_format)]
