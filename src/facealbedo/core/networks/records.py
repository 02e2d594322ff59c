"""What goes into a refinement network and what comes out."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from facealbedo.core.lighting.sh import mirror_sh, shading
from facealbedo.core.render.uv import mirror_uv, mirror_uv_normals
from facealbedo.core.types import TensorRecord, UVObservation

SH_COEFFICIENTS = 9


@dataclass(frozen=True)
class RefinerInput(TensorRecord):
    """A face as the fit left it.

    * ``observation``: linear texture, trust and view-frame normals in the atlas.
    * ``prior_albedo``: complete linear albedo of the parametric prior, > 0.
    * ``sh_radiance``: the fit's light (order 2, view frame), in units in which albedo x openness x shading is the
      texture.
    * ``uv_openness``: share of the sky that each texel sees past the face itself, in (0, 1].
    * ``uv_regions``: bare skin, and brows and lips, in [0, 1]: what detail means depends on where it is.
    * ``uv_pigment``: see `refiner.face_pigment`; None: not made yet. Training makes it once a scene, outside of what
      is compiled.
    """

    observation: UVObservation
    prior_albedo: Float[Tensor, "batch 3 height width"]
    sh_radiance: Float[Tensor, "batch 3 9"]
    uv_openness: Float[Tensor, "batch 1 height width"]
    uv_regions: Float[Tensor, "batch 2 height width"]
    uv_pigment: Float[Tensor, "batch 3 height width"] | None = None

    def fitted_shading(self) -> Float[Tensor, "batch 3 height width"]:
        """Shading of every texel in the fit's light, the face's own occlusion included."""
        return shading(self.sh_radiance, self.observation.uv_normal_view) * self.uv_openness

    def mirrored(self) -> RefinerInput:
        """Return the input of the mirrored photo, exactly."""
        seen = self.observation
        observation = UVObservation(
            uv_texture=mirror_uv(seen.uv_texture),
            uv_visibility=mirror_uv(seen.uv_visibility),
            uv_normal_view=mirror_uv_normals(seen.uv_normal_view),
        )
        return RefinerInput(
            observation,
            mirror_uv(self.prior_albedo),
            mirror_sh(self.sh_radiance),
            mirror_uv(self.uv_openness),
            mirror_uv(self.uv_regions),
            None if self.uv_pigment is None else mirror_uv(self.uv_pigment),
        )


@dataclass(frozen=True)
class RefinerOutput(TensorRecord):
    """A refined face.

    * ``uv_albedo``: complete linear albedo in (0, 1).
    * ``uv_illumination``: order-2 SH radiance a texel (view frame), colour-major: channel ``9 * colour + coefficient``;
      at the network's own, often coarser, resolution: read it bilinearly. Before the face's own occlusion: the image is
      albedo x shading x openness.
    * ``uv_log_gain``: log of a factor on that shading, a colour each, at full resolution: what no smooth light explains
      and no pigment is (wrinkles, cast shadows, highlights, which are whiter than skin). 0 for networks that have none,
      and where nothing was seen.
    * ``detail_gates``: how much of the photo's own detail the albedo took over, in [0, 1]: of what its colours say is
      pigment, and of the rest; 0 for networks that have no such gates.
    * ``log_variance``: of the albedo's error in log units; 0 for networks that do not say.
    """

    uv_albedo: Float[Tensor, "batch 3 height width"]
    uv_illumination: Float[Tensor, "batch 27 coarse_height coarse_width"]
    uv_log_gain: Float[Tensor, "batch 3 height width"]
    detail_gates: Float[Tensor, "batch 2 height width"]
    log_variance: Float[Tensor, "batch 1 height width"]
