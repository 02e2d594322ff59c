"""Image files as bytes: decoding to upright sRGB pixels and linear RGB, and encoding."""

from facealbedo.core.imaging.decoding import DecodedImage, DecodeLimits, ImageError, Reason, decode_image
from facealbedo.core.imaging.encoding import encode_jpeg_srgb, encode_png_srgb, encode_png_values

__all__ = [
    "DecodeLimits",
    "DecodedImage",
    "ImageError",
    "Reason",
    "decode_image",
    "encode_jpeg_srgb",
    "encode_png_srgb",
    "encode_png_values",
]
