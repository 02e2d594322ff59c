"""Marked skin: balanced, the same every time, of the tone that was asked for, and outside the prior's basis."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from facealbedo.assets.prior import load_albedo_prior
from facealbedo.core.colour import ita_degrees, linear_rgb_to_lab, luminance
from facealbedo.core.evaluate.mark_canvas import Canvas
from facealbedo.core.evaluate.marked_skin import MARKS, MarkedSkin, draw_marks, draw_skin
from facealbedo.core.evaluate.relit_set import GROUPS, RelitConfig, is_marked
from facealbedo.core.evaluate.skin_marks import SKIN_MARKS

SIZE = 256
GROUP = 3


def skin(mark: str | None, group: int = GROUP, seed: int = 5) -> MarkedSkin:
    prior = load_albedo_prior()
    generator = torch.Generator().manual_seed(seed)
    coefficients = prior.sample(1, generator, torch.tensor([group]))
    return draw_skin(prior, coefficients, generator, SIZE, group, (mark,) if mark else ())


def change(mark: str, group: int = GROUP) -> torch.Tensor:
    """Luminance with the mark over luminance without it, [height, width]."""
    drawn = skin(mark, group)
    with_mark, without = (luminance(values[0].permute(1, 2, 0)) for values in (drawn.uv_albedo, drawn.uv_unmarked))
    return with_mark / without


def test_the_same_seed_draws_the_same_face_and_plain_skin_has_no_marks() -> None:
    first, second = skin("melasma"), skin("melasma")
    assert torch.equal(first.uv_albedo, second.uv_albedo)
    assert not torch.equal(first.uv_albedo, skin("melasma", seed=6).uv_albedo)
    plain = skin(None)
    assert torch.equal(plain.uv_albedo, plain.uv_unmarked)
    # No face is symmetric, and none has the brows of the next.
    assert float((plain.uv_albedo - plain.uv_albedo.flip(-1)).abs().mean()) > 1e-3


@pytest.mark.parametrize("mark", SKIN_MARKS)
def test_marks_are_seen_but_do_not_move_the_skin_to_another_tone(mark: str) -> None:
    drawn = skin(mark)
    core = load_albedo_prior().field("core_skin", SIZE)
    means = [(values[0] * core).sum((1, 2)) / core.sum() for values in (drawn.uv_albedo, skin(None).uv_albedo)]
    marked, plain = (float(ita_degrees(linear_rgb_to_lab(mean[None]))[0]) for mean in means)
    # Brows and the displacement of features move the mean a little.
    assert marked == pytest.approx(plain, abs=1.5)
    assert float((drawn.uv_albedo - drawn.uv_unmarked).abs().amax()) > 0.02


@pytest.mark.parametrize(
    ("mark", "darker", "lighter"),
    [("freckles", 0.85, None), ("moles", 0.6, None), ("dark_circles", 0.8, None), ("vitiligo", None, 1.5)],
)
def test_marks_go_the_way_that_their_name_says(mark: str, darker: float | None, lighter: float | None) -> None:
    ratio = change(mark)
    typical = float(ratio.median())
    if darker is not None:
        assert float(ratio.min()) < darker * typical
        assert float(ratio.max()) < 1.2 * typical
    if lighter is not None:
        assert float(ratio.max()) > lighter * typical


def test_freckles_are_on_nose_and_cheeks_and_circles_below_the_eyes() -> None:
    prior = load_albedo_prior()
    _, y, _ = 1000 * prior.positions(SIZE)
    for mark, low, high in (("freckles", -60, 15), ("dark_circles", -30, 0)):
        ratio = change(mark, 1)
        darkest = ratio < ratio.quantile(0.002)
        assert low < float(y[darkest].mean()) < high


@pytest.mark.parametrize("mark", SKIN_MARKS)
def test_no_mark_lies_in_the_priors_basis(mark: str) -> None:
    """Least squares with all skin components leaves two thirds of a mark unexplained; of a draw from the basis nothing.

    Even redness of both cheeks is in the basis; of that a fifth remains.
    """
    prior = load_albedo_prior()
    canvas = Canvas.of(prior, prior.resolution, torch.Generator().manual_seed(8), GROUP)
    plain = prior.log_chromophores(prior.coeffs_from_tone(torch.tensor([-3.0]), torch.tensor([-3.4])))[0]
    core = canvas.field("core_skin")
    whole = torch.cat([prior.log_basis, prior.log_basis.flip(-1)], dim=-1).double()
    columns = (whole * core.sqrt()).flatten(1).T
    own = whole[4] - 2 * whole[7]
    for target, least, most in (
        (SKIN_MARKS[mark](canvas, plain), 0.2 if mark == "blush" else 0.66, 1.0),
        (own, 0.0, 1e-4),
    ):
        values = (target.double() * core.sqrt()).flatten()
        found = torch.linalg.lstsq(columns, values[:, None]).solution
        left = (values - (columns @ found)[:, 0]).square().sum() / values.square().sum()
        assert least <= float(left) <= most


def test_strata_and_kinds_take_turns() -> None:
    people = range(RelitConfig().people)
    marked = [number for number in people if is_marked(number)]
    assert Counter(number % GROUPS for number in marked) == dict.fromkeys(range(GROUPS), 3)
    generator = torch.Generator().manual_seed(1)
    kinds = [draw_marks(number // 2, generator) for number in marked]
    assert {name for drawn in kinds[: len(MARKS)] for name in drawn} == set(MARKS)
    assert all("beard" not in drawn or "make_up" not in drawn for drawn in kinds)
