"""Error of albedo maps against the truth, as they are and after one scale a face.

Maps are linear reflectance in the atlas. One scale a face leaves the question of overall light strength out: it shows
how well shading, colour and detail are separated. It is a diagnostic; raw values are the result.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import delta_e_2000, ita_degrees, linear_rgb_to_lab, luminance
from facealbedo.core.metrics.masks import check_same_size, masked_mean

AlbedoMap = Float[Tensor, "batch 3 height width"]
Mask = Float[Tensor, "batch_or_1 1 height width"]


@dataclass(frozen=True)
class AlbedoErrors:
    """Errors of each face of a batch.

    Attributes:
        delta_e: mean CIEDE2000 over the mask; relative_l1: sum of |error| over sum of the truth.
        delta_e_aligned, relative_l1_aligned: the same after `alignment_scale`.
        scale: that scale.
        ita, ita_true: ITA of the mean colour over the skin, degrees; ita_aligned: after the scale.
    """

    delta_e: Float[Tensor, "batch"]
    delta_e_aligned: Float[Tensor, "batch"]
    relative_l1: Float[Tensor, "batch"]
    relative_l1_aligned: Float[Tensor, "batch"]
    scale: Float[Tensor, "batch"]
    ita: Float[Tensor, "batch"]
    ita_aligned: Float[Tensor, "batch"]
    ita_true: Float[Tensor, "batch"]

    def row(self, index: int) -> dict[str, float]:
        """Return one face's numbers under the names that tables use."""
        values = {name: float(getattr(self, name)[index]) for name in self.__dataclass_fields__}
        values["ita_error"] = abs(values["ita"] - values["ita_true"])
        values["ita_error_aligned"] = abs(values["ita_aligned"] - values["ita_true"])
        return values


def albedo_errors(predicted: AlbedoMap, truth: AlbedoMap, region: Mask, skin: Mask) -> AlbedoErrors:
    """Compare albedo maps.

    Args:
        predicted: linear albedo.
        truth: linear albedo of the same size.
        region: texels to compare, soft.
        skin: texels whose mean colour is the face's skin colour, soft.

    Raises:
        EvaluationError: sizes differ, or a mask is empty.
    """
    check_same_size(predicted, truth, "albedo maps")
    scale = alignment_scale(predicted, truth, region)
    aligned = predicted * scale[:, None, None, None]
    return AlbedoErrors(
        delta_e=mean_delta_e(predicted, truth, region),
        delta_e_aligned=mean_delta_e(aligned, truth, region),
        relative_l1=relative_l1(predicted, truth, region),
        relative_l1_aligned=relative_l1(aligned, truth, region),
        scale=scale,
        ita=skin_ita(predicted, skin),
        ita_aligned=skin_ita(aligned, skin),
        ita_true=skin_ita(truth, skin),
    )


def alignment_scale(predicted: AlbedoMap, truth: AlbedoMap, mask: Mask) -> Float[Tensor, "batch"]:
    """Return the factor that gives a prediction the truth's mean luminance over the mask."""
    check_same_size(predicted, truth, "albedo maps")
    mean, expected = (luminance(masked_mean(values, mask)) for values in (predicted, truth))
    return expected / mean.clamp(min=1e-6)


def delta_e_map(predicted: AlbedoMap, truth: AlbedoMap) -> Float[Tensor, "batch 1 height width"]:
    """CIEDE2000 at each texel."""
    check_same_size(predicted, truth, "albedo maps")
    first, second = (linear_rgb_to_lab(values.clamp(min=0).movedim(1, -1)) for values in (predicted, truth))
    return delta_e_2000(first, second)[:, None]


def mean_delta_e(predicted: AlbedoMap, truth: AlbedoMap, mask: Mask) -> Float[Tensor, "batch"]:
    """Mean CIEDE2000 over a mask; computed for its texels alone.

    Raises:
        EvaluationError: sizes differ, or the mask is empty.
    """
    check_same_size(predicted, truth, "albedo maps")
    weight = mask.expand(len(predicted), -1, -1, -1).flatten(2)
    chosen = (weight > 0).any(0)[0]
    first, second = (values.flatten(2)[..., chosen][..., None] for values in (predicted, truth))
    return masked_mean(delta_e_map(first, second), weight[..., chosen][..., None])[:, 0]


def relative_l1(predicted: AlbedoMap, truth: AlbedoMap, mask: Mask) -> Float[Tensor, "batch"]:
    """Sum of absolute errors over the sum of the truth, all channels together."""
    check_same_size(predicted, truth, "albedo maps")
    return masked_mean((predicted - truth).abs(), mask).sum(1) / masked_mean(truth, mask).sum(1)


def skin_ita(albedo: AlbedoMap, skin: Mask) -> Float[Tensor, "batch"]:
    """Return the ITA of the mean linear colour of the skin, degrees."""
    return ita_degrees(linear_rgb_to_lab(masked_mean(albedo, skin).clamp(min=0)))


def spread_over_lights(albedo: Float[Tensor, "map 3 height width"], mask: Mask, skin: Mask) -> dict[str, float]:
    """Return the spread of maps of one face under several lights, as they are and in one colour.

    In one colour: each map is multiplied by one factor a channel, so that all have the same mean on skin. What spreads
    then is the pattern, not the question how strong and of what colour the light was.

    Args:
        albedo: linear, a map a light.
        mask: where maps are compared.
        skin: where their mean colour is taken.

    Raises:
        EvaluationError: an empty mask.
    """
    mean = masked_mean(albedo, skin).clamp(min=1e-6)
    factor = (mean.log().mean(0, keepdim=True) - mean.log()).exp()
    return {
        "spread": albedo_spread(albedo, mask),
        "spread_one_colour": albedo_spread(albedo * factor[:, :, None, None], mask),
    }


def albedo_spread(albedo: Float[Tensor, "map 3 height width"], mask: Mask) -> float:
    """Return how far maps differ among themselves: mean CIEDE2000 from their mean map.

    Maps of one face under many lights give the light that is left in them; mean maps of many people the yardstick.

    Raises:
        EvaluationError: an empty mask.
    """
    middle = albedo.mean(0, keepdim=True)
    return float(mean_delta_e(albedo, middle.expand_as(albedo), mask).mean())
