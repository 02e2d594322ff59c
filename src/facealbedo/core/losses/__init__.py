"""Loss terms, pure and unweighted, and the one place that weighs and sums them."""

from facealbedo.core.losses.total import LossInputs, LossWeights, Truth, total_loss

__all__ = ["LossInputs", "LossWeights", "Truth", "total_loss"]
