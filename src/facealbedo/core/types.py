"""The frozen records that travel between the rooms of `facealbedo.core`.

Conventions (the full text is in ``docs/conventions.md``):

* **World** frame: right-handed, metres, +y up, the face looks along +z; its origin is the face model's.
* **View** frame: right-handed, metres, +x right in the image, +y up, the camera sits at the origin and looks along -z.
  ``x_view = rotation @ x_world + translation``.
* **Pixels**: x right, y down, the first pixel's centre is (0.5, 0.5).
  ``x_px = focal * x / (-z) + principal_x``, ``y_px = -focal * y / (-z) + principal_y``.
* **Images and maps**: ``[batch, channel, height, width]``, linear RGB (sRGB primaries) in [0, 1] unless a name says
  ``srgb``. UV maps have row 0 at v = 0.
* **Light**: spherical harmonics of incoming radiance in the *view* frame.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Record = TypeVar("Record", bound="TensorRecord")


class TensorRecord:
    """Mixin for frozen dataclasses of tensors: move all tensors, or take a slice of the batch."""

    def to(self: Record, device: torch.device | str) -> Record:
        """Return the record with every tensor on ``device`` (nothing is copied when it is already there)."""
        return self._map(lambda tensor: tensor.to(device))

    def __getitem__(self: Record, index: slice) -> Record:
        """Return the record of the batch entries in ``index``; a slice, so that the batch axis stays."""
        if not isinstance(index, slice):
            raise TypeError(f"index a record with a slice, so that the batch axis stays; got {type(index).__name__}")
        return self._map(lambda tensor: tensor[index])

    def _map(self: Record, function: Any) -> Record:
        changed: dict[str, Any] = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changed[field.name] = function(value)
            elif isinstance(value, TensorRecord):
                changed[field.name] = value._map(function)
        return replace(self, **changed)  # type: ignore[type-var]


@dataclass(frozen=True)
class FaceCoefficients(TensorRecord):
    """Coordinates of a face in the face model.

    ``identity_coeffs`` and ``albedo_coeffs`` have unit variance under their priors; ``expression_coeffs`` are unit
    activations in [0, 1]. ``albedo_coeffs`` are coordinates in log-chromophore space (see ``core.face_model``).
    """

    identity_coeffs: Float[Tensor, "batch identity"]
    expression_coeffs: Float[Tensor, "batch expression"]
    albedo_coeffs: Float[Tensor, "batch albedo"]


@dataclass(frozen=True)
class Pose(TensorRecord):
    """Rigid motion from the world to the view frame: ``x_view = rotation @ x_world + translation`` (metres)."""

    rotation: Float[Tensor, "batch 3 3"]
    translation: Float[Tensor, "batch 3"]


@dataclass(frozen=True)
class Camera(TensorRecord):
    """Pinhole camera with square pixels, in pixels of one image size shared by the batch.

    ``principal_px`` may lie outside the image: a crop keeps the principal point of the photo that it was cut from.
    """

    focal_px: Float[Tensor, "batch"]
    principal_px: Float[Tensor, "batch 2"]
    height: int
    width: int


@dataclass(frozen=True)
class Lighting(TensorRecord):
    """Distant light as real, orthonormal spherical harmonics of incoming *radiance*, in the view frame.

    Index l² + l + m, no Condon-Shortley phase: order 2 has 9 coefficients a colour, order L has (L + 1)².
    """

    sh_radiance: Float[Tensor, "batch 3 coeff"]


@dataclass(frozen=True)
class Landmarks(TensorRecord):
    """Facial landmarks in pixels of the image that they were found in, and the detector's confidence in [0, 1]."""

    landmarks_px: Float[Tensor, "batch landmark 2"]
    confidence: Float[Tensor, "batch"]


@dataclass(frozen=True)
class Fragments(TensorRecord):
    """What a rasteriser writes for every pixel.

    * ``triangle_id``: index of the nearest triangle, -1 where there is none.
    * ``barycentrics``: perspective-correct weights of the triangle's three vertices at the pixel's centre; 0 where
      there is no triangle.
    * ``depth``: distance along the viewing axis (-z of the view frame) in metres; +inf where there is no triangle.
    """

    triangle_id: Int[Tensor, "batch height width"]
    barycentrics: Float[Tensor, "batch height width 3"]
    depth: Float[Tensor, "batch height width"]

    @property
    def coverage(self) -> Bool[Tensor, "batch height width"]:
        """True where a triangle covers the pixel's centre."""
        return self.triangle_id >= 0


@dataclass(frozen=True)
class GBuffer(TensorRecord):
    """Geometry at every pixel of an image (view frame, metres), interpolated from `Fragments`.

    * ``position_view``: point on the surface; ``normal_view``: unit smooth normal; both 0 where not covered.
    * ``uv``: atlas coordinates, (0, 0) top left; 0 where not covered or where the triangle has no place in the atlas.
    * ``coverage``: any triangle; ``skin_coverage``: a triangle of the skin, which the atlas maps.
    """

    position_view: Float[Tensor, "batch 3 height width"]
    normal_view: Float[Tensor, "batch 3 height width"]
    uv: Float[Tensor, "batch 2 height width"]
    coverage: Bool[Tensor, "batch 1 height width"]
    skin_coverage: Bool[Tensor, "batch 1 height width"]


@dataclass(frozen=True)
class UVObservation(TensorRecord):
    """What a photo shows of a face, laid out in the atlas.

    * ``uv_texture``: the photo sampled through the fitted mesh, linear RGB; 0 outside the atlas.
    * ``uv_visibility``: trust in [0, 1]: seen by the camera, not grazing, inside the photo, not occluded.
    * ``uv_normal_view``: unit smooth normals in the view frame; 0 outside the atlas.
    """

    uv_texture: Float[Tensor, "batch 3 height width"]
    uv_visibility: Float[Tensor, "batch 1 height width"]
    uv_normal_view: Float[Tensor, "batch 3 height width"]


@dataclass(frozen=True)
class FaceAsset(TensorRecord):
    """A reconstructed face (batch of one or more): everything that an export or a relighting needs.

    ``uv_albedo`` is linear diffuse reflectance, complete over the atlas. ``uv_illumination`` holds SH radiance per
    texel (view frame), colour-major: channel ``9 * colour + coefficient``.
    """

    coefficients: FaceCoefficients
    pose: Pose
    camera: Camera
    lighting: Lighting
    vertices_world: Float[Tensor, "batch vertex 3"]
    observation: UVObservation
    prior_albedo: Float[Tensor, "batch 3 height width"]
    uv_albedo: Float[Tensor, "batch 3 height width"]
    uv_illumination: Float[Tensor, "batch 27 coarse_height coarse_width"]
