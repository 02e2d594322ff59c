"""facealbedo: from one photo of a face to an evenly lit, re-renderable 3D face asset."""

__version__ = "0.1.0"
