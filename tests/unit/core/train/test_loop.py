from __future__ import annotations

import dataclasses
import math
import threading
import time
import weakref

import pytest
import torch

from facealbedo.core.losses import LossWeights
from facealbedo.core.networks import PRESETS
from facealbedo.core.train.checkpoint import weights_from_bytes, weights_to_bytes
from facealbedo.core.train.config import TrainingError
from facealbedo.core.train.loop import Sitters, train
from facealbedo.core.train.schedule import learning_rate
from tests.unit.core.train.conftest import Log, Store, changed
from tests.unit.core.train.crops import Crops, make_batch


class StoppedError(Exception):
    pass


class Interrupting(Log):
    """Ends the run the hard way after some steps."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def numbers(self, step: int, values: dict[str, float]) -> None:
        if step >= self.after:
            raise StoppedError
        super().numbers(step, values)


def weights_of(state) -> list[torch.Tensor]:
    return [*state.refiner.state_dict().values(), *state.average.state_dict().values()]


def test_two_runs_are_the_same_to_the_bit(config, crew):
    first = train(config, dataclasses.replace(crew, store=Store(), log=None))
    second = train(config, dataclasses.replace(crew, store=Store(), log=None))
    for here, there in zip(weights_of(first), weights_of(second), strict=True):
        assert torch.equal(here, there)


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_a_run_that_was_stopped_ends_with_the_same_weights(config, crew, after):
    config = changed(config, log_every=1, checkpoint_every=1)
    whole = train(config, dataclasses.replace(crew, store=Store(), log=None))
    store = Store()
    with pytest.raises(StoppedError):
        train(config, dataclasses.replace(crew, store=store, log=Interrupting(after)))
    resumed_log = Log()
    resumed = train(config, dataclasses.replace(crew, store=store, log=resumed_log))
    for here, there in zip(weights_of(whole), weights_of(resumed), strict=True):
        assert torch.equal(here, there)
    assert resumed_log.rows[0][0] == max(after, 1)


def test_a_finished_run_is_not_made_again(config, crew):
    train(config, crew)
    writes = crew.store.writes
    assert writes == 3  # steps 2, 4 and the last
    again = train(config, crew)
    assert again.step == config.steps
    assert crew.store.writes == writes


def test_training_lowers_the_loss_of_one_batch(config, crew, stage):
    one = dataclasses.replace(crew, photos=Crops(make_batch(stage, 3)), store=None, log=Log())
    train(changed(config, steps=24, flip=False, log_every=4), one)
    losses = [row["loss"] for _, row in one.log.rows]
    assert losses[-1] < 0.9 * losses[0]
    assert {"loss/photometric", "gradient_norm", "learning_rate", "images_per_second"} <= set(one.log.rows[0][1])


def test_other_settings_do_not_continue_a_checkpoint(config, crew):
    train(config, crew)
    with pytest.raises(TrainingError, match=r"other settings: seed 0 there, 1 here"):
        train(changed(config, seed=1), crew)
    other = dataclasses.replace(PRESETS["tiny"], channels=(8, 16, 24))
    with pytest.raises(TrainingError, match="of another architecture: network"):
        train(changed(config, network=other), crew)


@pytest.mark.parametrize("cut", [0, 7, 1000, -1])
def test_a_damaged_checkpoint_is_named(config, crew, cut):
    train(config, crew)
    crew.store.data = crew.store.data[:cut]
    with pytest.raises(TrainingError, match="not a complete checkpoint"):
        train(config, crew)


def test_a_bad_loss_stops_before_the_weights_change(config, crew, stage):
    batch = make_batch(stage)
    bad = dataclasses.replace(batch, sh_radiance=torch.full_like(batch.sh_radiance, math.nan))
    store = Store()
    with pytest.raises(TrainingError, match=r"stopped before step 0 .*global_light = nan"):
        train(config, dataclasses.replace(crew, photos=Crops(bad), store=store))
    assert store.data is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "at least 1"),
        ({"fabricated_share": 0.5}, "nothing that fabricates"),
        ({"fabricated_share": 1.5}, "must lie in"),
        ({"learning_rate": 0.0}, "above 0"),
        ({"weights": LossWeights(perceptual=1.0)}, "feature network"),
    ],
)
def test_what_cannot_work_is_said_at_once(config, crew, change, message):
    with pytest.raises(TrainingError, match=message):
        train(changed(config, **change), crew)


def test_no_crops_is_an_error_in_words(config, crew):
    with pytest.raises(TrainingError, match="no training crops"):
        train(config, dataclasses.replace(crew, photos=None))


def test_steps_see_what_they_see_however_the_run_came_there(config, crew):
    one, two = Sitters(config, crew), Sitters(config, crew)
    in_order = [one.see(step) for step in range(4)]
    for step in (3, 0, 2):
        assert torch.equal(two.see(step).photo_srgb, in_order[step].photo_srgb)
        assert torch.equal(two.see(step).face.prior_albedo, in_order[step].face.prior_albedo)


@pytest.mark.parametrize("block", [1, 2, 3])
def test_faces_made_ahead_are_the_same(config, crew, block):
    long = changed(config, steps=16, scene_block=block)
    waiting, ahead = Sitters(long, crew), Sitters(long, crew, ahead=True)
    # From the twelfth back to the tenth, as no run does: what was begun in vain must not be taken.
    for step in (*range(13), 10, 11, 14):
        one, other = waiting.see(step), ahead.see(step)
        assert torch.equal(one.photo_srgb, other.photo_srgb)
        assert torch.equal(one.face.prior_albedo, other.face.prior_albedo)


def test_a_failure_ahead_is_raised_where_its_faces_are_wanted(config, crew):
    class Failing:
        left = 11

        def __len__(self):
            return len(crew.photos)

        def expect(self, rows):
            pass

        def fetch(self, rows, device):
            self.left -= 1
            if not self.left:
                raise TrainingError("nothing left")
            return crew.photos.fetch(rows, device)

    long = changed(config, steps=16, scene_block=1)
    ahead = Sitters(long, dataclasses.replace(crew, photos=Failing()), ahead=True)
    for step in range(10):
        ahead.see(step)
    with pytest.raises(TrainingError, match="nothing left"):
        ahead.see(10)


def test_what_steps_still_read_is_not_freed_while_the_next_faces_are_made(config, crew):
    kept = []

    class Slow:
        def __len__(self):
            return len(crew.photos)

        def expect(self, rows):
            pass

        def fetch(self, rows, device):
            before = weakref.ref(sitters._block[0][1]) if sitters._block else None
            time.sleep(0.2)  # meanwhile the loop comes to the end of its block
            if before is not None and threading.current_thread() is not threading.main_thread():
                kept.append(before() is not None)
            return crew.photos.fetch(rows, device)

    long = changed(config, steps=16, scene_block=2)
    sitters = Sitters(long, dataclasses.replace(crew, photos=Slow()), ahead=True)
    for step in range(14):
        sitters.see(step)
    assert len(kept) >= 2
    assert all(kept)


def test_an_epoch_shows_every_crop_once(config, crew):
    steps = [Sitters(config, crew).see(step).photo_srgb.sum((1, 2, 3)) for step in range(2)]
    shown = torch.cat(steps).sort().values
    everything = (crew.photos.batch.photo_srgb.float() / 255).sum((1, 2, 3)).sort().values
    torch.testing.assert_close(shown, everything)


def test_schedules_have_their_corners(config):
    long = changed(config, steps=101, warmup_steps=10, learning_rate=1.0)

    def at(name: str) -> list[float]:
        return [learning_rate(changed(long, schedule=name), step) for step in (0, 50, 100)]

    rate = {name: at(name) for name in ("constant", "cosine", "decay")}
    assert rate["constant"] == pytest.approx([0.1, 1.0, 1.0])
    assert rate["cosine"] == pytest.approx([0.1, 0.51, 0.02])
    assert rate["decay"] == pytest.approx([0.1, 1.0, 0.02])


def test_weights_to_ship_come_back_as_half_precision(config, crew):
    state = train(config, crew)
    refiner, card = weights_from_bytes(weights_to_bytes(state.average, config.network, {"made": "here"}))
    assert card == {"made": "here"}
    for name, value in state.average.state_dict().items():
        expected = value.half().float() if value.is_floating_point() else value
        assert torch.equal(refiner.state_dict()[name], expected)
    with pytest.raises(TrainingError, match="not a complete weight file"):
        weights_from_bytes(crew.store.data)
