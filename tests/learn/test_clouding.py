"""The fill, the masks and the skies of training: the same kind that scenes get."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.errors import DataError
from geodecloud.geo.fill import Fill
from geodecloud.geo.scene import ArrayMask, ArrayScene, shape_of
from geodecloud.geo.sensors import Band, Sensor
from geodecloud.geo.tiling import Window
from geodecloud.learn.clouding import MaskErrors, cloud_over, cut, fill_windows, grow, turned


@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 99))
def test_clear_pixels_stay_and_the_rest_lies_between_them(height, width, seed) -> None:
    random = torch.Generator().manual_seed(seed)
    pixels = torch.rand(2, 3, height, width, generator=random)
    clear = torch.rand(2, 1, height, width, generator=random) > 0.6
    filled = fill_windows(pixels, clear)
    kept = clear.expand_as(pixels)
    assert torch.equal(filled[kept], pixels[kept])
    for window, known, drawn in zip(pixels, clear, filled, strict=True):
        if known.any():
            values = window[:, known[0]]
            assert (drawn.amin((1, 2)) >= values.amin(1) - 1e-5).all()
            assert (drawn.amax((1, 2)) <= values.amax(1) + 1e-5).all()
        else:
            assert not drawn.any()


def test_training_sees_the_fill_that_scenes_get() -> None:
    random = np.random.default_rng(1)
    dn = random.uniform(0.1, 0.3, (2, 64, 64)).astype(np.float32)
    dn += np.linspace(0, 0.3, 64, dtype=np.float32)
    mask = np.zeros((64, 64), bool)
    mask[10:40, 5:50] = True
    mask[50:, 40:] = True
    sensor = Sensor("", tuple(Band(name, dtype="float32") for name in "ab"))
    scene = ArrayScene(dn, sensor)
    expected = Fill.build(scene, ArrayMask(mask)).read(Window.whole(shape_of(scene.geobox)))
    filled = fill_windows(torch.from_numpy(dn)[None], torch.from_numpy(~mask)[None, None])
    assert np.abs(filled[0].numpy() - expected).max() < 1e-3


def test_a_mask_grows_and_shrinks_by_whole_pixels() -> None:
    mask = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    mask[..., 3:6, 3:6] = True
    assert grow(mask, 2).sum() == 49
    assert grow(mask, -1).sum() == 1
    assert torch.equal(grow(mask, 0), mask)


def test_masks_hold_what_loses_more_light_than_their_limit() -> None:
    lost = torch.linspace(0, 1, 100).reshape(1, 1, 10, 10)
    exact = MaskErrors(least=(0.5, 0.5), grown_px=(0, 0))
    mask = exact.drawn(lost, torch.Generator().manual_seed(0))
    assert torch.equal(mask, lost > 0.5)


def test_clouds_leave_clear_ground_bit_identical() -> None:
    clear = torch.rand(4, 3, 64, 64)
    random = torch.Generator().manual_seed(2)
    is_toa = torch.tensor([True, False, True, False])
    cloudy, lost, classes = cloud_over(clear, ["B02", "B03", "B08"], is_toa, random)
    untouched = (classes == 0).expand_as(clear)
    assert torch.equal(cloudy[untouched], clear[untouched])
    assert (lost[classes == 0] == 0).all()
    assert (lost[classes > 0] > 0).all()
    assert lost.max() <= 1


def test_a_band_without_a_wavelength_is_one_clear_error() -> None:
    with pytest.raises(DataError, match="bands VV have no wavelength"):
        cloud_over(
            torch.zeros(1, 1, 8, 8), ["VV"], torch.tensor([False]), torch.Generator().manual_seed(0)
        )


def test_a_square_lies_in_eight_ways() -> None:
    window = torch.arange(9).reshape(1, 3, 3)
    ways = {tuple(turned(window, way).flatten().tolist()) for way in range(8)}
    assert len(ways) == 8


def test_chips_are_cut_where_they_are_asked_for() -> None:
    field = torch.arange(2 * 36).reshape(2, 1, 6, 6)
    chips = cut({"field": field, "level": torch.tensor([5, 7])}, torch.tensor([[1, 2, 3]]), 2)
    assert torch.equal(chips["field"], field[1:2, :, 2:4, 3:5])
    assert chips["level"].tolist() == [7]
