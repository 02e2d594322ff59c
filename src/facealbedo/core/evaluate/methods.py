"""Methods under one signature: a fitted face in, a complete linear albedo map out.

A network is one more entry: `network_method` makes a method of its weights file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.errors import FaceAlbedoError
from facealbedo.core.evaluate.optimised import optimised_albedo
from facealbedo.core.fit.light import openness_shading
from facealbedo.core.metrics.masks import EvaluationError
from facealbedo.core.networks.pigment_net import PigmentNet
from facealbedo.core.networks.records import RefinerInput
from facealbedo.core.networks.refiner import Refiner, face_shares, with_pigment
from facealbedo.core.refine.network import NETWORK_PX, refine_with_network
from facealbedo.core.refine.quotient import quotient_albedo
from facealbedo.core.refine.separation import separate_albedo
from facealbedo.core.refine.unseen import complete_lips
from facealbedo.core.render.shade import shading_detailed
from facealbedo.core.train.checkpoint import weights_from_bytes
from facealbedo.core.types import Lighting, TensorRecord, UVObservation


@dataclass(frozen=True)
class FittedFace(TensorRecord):
    """What every method gets: a face as the fit left it, batch of one.

    * ``observation``: texture, trust, normals. ``prior_albedo``: of the fit, linear. ``lighting``: of the fit.
    * ``openness``: share of the sky; ``region``: factor on the trust.
    * ``skin``: bare skin; ``features``: brows and lips; ``lips``: lips alone.
    * ``uv_shares``: what share of the skin's detail is pigment, see `networks.pigment_net`; None: not judged.
    """

    observation: UVObservation
    prior_albedo: Float[Tensor, "1 3 height width"]
    lighting: Lighting
    openness: Float[Tensor, "1 1 height width"]
    region: Float[Tensor, "1 1 height width"]
    skin: Float[Tensor, "1 1 height width"]
    features: Float[Tensor, "1 1 height width"]
    lips: Float[Tensor, "1 1 height width"]
    uv_shares: Float[Tensor, "1 2 height width"] | None = None

    def trusted(self) -> UVObservation:
        """Return the observation, trusted within the region alone."""
        return replace(self.observation, uv_visibility=self.observation.uv_visibility * self.region)

    def shading(self) -> Float[Tensor, "1 3 height width"]:
        """Return the fitted light on every texel, the face's own occlusion included."""
        return openness_shading(self.lighting, self.observation.uv_normal_view, self.openness)

    def refiner_input(self) -> RefinerInput:
        """Return the face as a network gets it, without its pigment."""
        regions = torch.cat([self.skin, self.features], dim=1)
        return RefinerInput(self.trusted(), self.prior_albedo, self.lighting.sh_radiance, self.openness, regions)

    def judged(self, net: PigmentNet) -> FittedFace:
        """Return the face with its shares of pigment."""
        return replace(self, uv_shares=face_shares(net, self.refiner_input()))


@dataclass(frozen=True)
class Separation(TensorRecord):
    """What a method makes of a photo: linear albedo, and the light (shading) that it says the photo was taken in."""

    uv_albedo: Float[Tensor, "1 3 height width"]
    uv_shading: Float[Tensor, "1 3 height width"]


Method = Callable[[FittedFace], Separation]


def texture(face: FittedFace) -> Separation:
    """Take the photo itself where it shows the face, the prior elsewhere: no light is taken out."""
    albedo = torch.lerp(face.prior_albedo, face.observation.uv_texture, face.observation.uv_visibility)
    return Separation(albedo, torch.ones_like(albedo))


def prior(face: FittedFace) -> Separation:
    """Take the fitted prior alone."""
    return Separation(face.prior_albedo, face.shading())


def quotient(face: FittedFace) -> Separation:
    """Divide texture by shading; mirrored and completed."""
    shading = face.shading()
    result = quotient_albedo(face.observation, shading, face.prior_albedo, region=face.region[0, 0])
    return Separation(result.uv_albedo, shading)


def separation(face: FittedFace) -> Separation:
    """Tell pigment from shading; the rest is the prior."""
    shading, seen = face.shading(), face.trusted()
    albedo = separate_albedo(seen, shading, face.prior_albedo, face.skin, face.features, shares=face.uv_shares)
    return Separation(complete_lips(albedo, face.prior_albedo, seen.uv_visibility, face.lips), shading)


def optimised(face: FittedFace) -> Separation:
    """Optimise a free texture and its light for this photo."""
    albedo, light = optimised_albedo(face.observation, face.prior_albedo, face.lighting, face.openness, face.region)
    return Separation(albedo, openness_shading(light, face.observation.uv_normal_view, face.openness))


BASELINES: Mapping[str, Method] = {
    "texture": texture,
    "prior": prior,
    "quotient": quotient,
    "separation": separation,
    "optimised": optimised,
}


def select_methods(names: Sequence[str], weights: Mapping[str, bytes]) -> dict[str, Method]:
    """Return the baselines of these names, then one method for each weights file.

    Raises:
        EvaluationError: an unknown baseline, weights under a baseline's name, or weights that cannot be read.
    """
    unknown = [name for name in names if name not in BASELINES]
    if unknown:
        raise EvaluationError(f"no method {', '.join(unknown)}; the baselines are {', '.join(BASELINES)}")
    taken = [name for name in weights if name in BASELINES]
    if taken:
        raise EvaluationError(f"weights cannot be called {', '.join(taken)}: that is a baseline")
    methods = {name: BASELINES[name] for name in names}
    for name, content in weights.items():
        try:
            methods[name] = network_method(content)
        except FaceAlbedoError as error:
            raise EvaluationError(f"the weights of {name} cannot be used: {error}") from error
    return methods


def network_method(weights: bytes) -> Method:
    """Return the method of a network's weights file."""
    refiner, _ = weights_from_bytes(weights)

    def refine(face: FittedFace) -> Separation:
        return refine_with(refiner, face)

    return refine


@torch.no_grad()
def refine_with(refiner: Refiner, face: FittedFace) -> Separation:
    """Refine with a network, as the reconstructor does, but for what lies outside the face, which no score looks at.

    Raises:
        EvaluationError: the maps are not of the network's resolution.
    """
    size = face.prior_albedo.shape[-1]
    if size != NETWORK_PX:
        raise EvaluationError(f"networks are measured on maps of {NETWORK_PX} texels a side, got {size}")
    inputs = with_pigment(face.refiner_input(), face.uv_shares)
    found = refine_with_network(refiner, inputs, inputs)
    light = F.interpolate(found.uv_illumination, size=(size, size), mode="bilinear", align_corners=False)
    albedo = complete_lips(found.uv_albedo, face.prior_albedo, inputs.observation.uv_visibility, face.lips)
    return Separation(albedo, shading_detailed(light, face.observation.uv_normal_view, face.openness))
