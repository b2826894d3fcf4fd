"""The road through the house: what stays, what is generated, what the grid may not do."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from geodecloud.errors import BandError, ModelError
from geodecloud.geo.scene import ArrayMask, ArrayScene, ArraySink, origin_px
from geodecloud.geo.sensors import Band, Sensor
from geodecloud.geo.tiling import Tiling
from geodecloud.metrics import seam_index
from geodecloud.paste import FEATHERED, GENERATED, NODATA, ORIGINAL, OTHER_DATE
from geodecloud.pipeline import (
    EXACT,
    Aids,
    Answer,
    Journey,
    Records,
    Request,
    Road,
    translate_scene,
)
from geodecloud.progress import Cancelled

DTYPES = ("uint8", "int16", "uint16", "float32")


@dataclass
class Net:
    """A translator made of a function on arrays."""

    answer: object
    bands_in: tuple[str, ...] = ("b0", "b1")
    bands_out: tuple[str, ...] = ("b0", "b1")
    stride_px: int = 1
    halo_px: int = 0
    name: str = "net"
    device: str = "cpu"
    resolution_m: float | None = None
    asked: list[tuple[int, ...]] = field(default_factory=list)

    def __call__(self, request: Request) -> Answer:
        self.asked.append(request.pixels.shape)
        return Answer(self.answer(request))


def identity() -> Net:
    return Net(lambda request: request.pixels)


def scene_of(dn: np.ndarray, *, scale: float = 1e-4, nodata: float | None = 0, origin=(0, 0)):
    bands = tuple(
        Band(f"b{i}", scale=scale, nodata=nodata, dtype=dn.dtype.name) for i in range(len(dn))
    )
    affine = Affine(10, 0, 600_000 + 10 * origin[1], 0, -10, 5_000_000 - 10 * origin[0])
    return ArrayScene(dn, Sensor("test", bands), GeoBox(dn.shape[1:], affine, "EPSG:32632"))


def random_dn(shape: tuple[int, int], dtype: str, seed: int, n_bands: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype == "float32":
        return rng.normal(size=(n_bands, *shape)).astype(dtype)
    high = min(np.iinfo(dtype).max, 20_000)
    return rng.integers(0, high, (n_bands, *shape), endpoint=True).astype(dtype)


def travel(scene, net, *, mask=None, observed=None, road=EXACT, **more) -> SimpleNamespace:
    shape = scene.geobox.shape
    sink = ArraySink(len(scene.sensor.bands), shape, scene.sensor.bands[0].dtype)
    origin = ArraySink(1, shape, np.uint8)
    with sink, origin:
        journey = translate_scene(
            scene,
            sink,
            net,
            aids=Aids(
                None if mask is None else ArrayMask(mask),
                observed=None if observed is None else ArrayMask(observed),
            ),
            records=Records(origin),
            road=road,
            **more,
        )
    return SimpleNamespace(dn=sink.dn, origin=origin.dn[0], journey=journey)


shapes = st.tuples(st.integers(1, 90), st.integers(1, 90))
seeds = st.integers(0, 2**32 - 1)


@given(
    shapes,
    st.sampled_from(DTYPES),
    seeds,
    st.sampled_from([16, 32, 48]),
    st.sampled_from(["exact", "fast"]),
    st.integers(0, 20),
    st.integers(1, 3),
    st.integers(0, 4),
)
def test_clear_pixels_leave_bit_identical(shape, dtype, seed, size, halo, reach, batch, feather):
    dn = random_dn(shape, dtype, seed)
    if dtype == "float32":
        dn.flat[:: max(1, dn.size // 7)] = -0.0
        dn.flat[3 :: max(1, dn.size // 5)] = np.nan
    mask = np.random.default_rng(seed).random(shape) < 0.3
    scene = scene_of(dn, nodata=None if dtype == "float32" else 0)
    net = replace(identity(), answer=lambda r: np.full_like(r.pixels, 0.5), halo_px=reach)
    road = Road(halo, size, batch, feather)
    out = travel(scene, net, mask=mask, road=road)
    same = out.dn.view(np.uint8).reshape(*dn.shape, -1) == dn.view(np.uint8).reshape(*dn.shape, -1)
    assert same.all(-1)[np.broadcast_to(~mask, dn.shape)].all()


@given(
    shapes,
    st.sampled_from(DTYPES),
    seeds,
    st.sampled_from([16, 32, 64]),
    st.sampled_from(["exact", "fast"]),
    st.integers(0, 40),
    st.integers(1, 3),
)
def test_identity_gives_the_scene_back_exactly(shape, dtype, seed, size, halo, reach, batch):
    dn = random_dn(shape, dtype, seed)
    scale = 1.0 if dtype == "float32" else 1e-4
    scene = scene_of(dn, scale=scale, nodata=None if dtype == "float32" else 0)
    out = travel(scene, replace(identity(), halo_px=reach), road=Road(halo, size, batch))
    np.testing.assert_array_equal(out.dn, dn)
    assert out.journey.n_identical == out.journey.n_values


def test_generated_values_stand_where_the_mask_says_and_nodata_stays() -> None:
    dn = np.full((2, 8, 8), 700, np.uint16)
    dn[:, 0] = 0
    mask = np.zeros((8, 8), bool)
    mask[:4] = True
    out = travel(scene_of(dn), Net(lambda r: np.full_like(r.pixels, 0.3)), mask=mask)
    assert (out.dn[:, 1:4] == 3000).all()
    assert (out.dn[:, 4:] == 700).all()
    assert (out.dn[:, 0] == 0).all()
    assert (out.origin[0] == NODATA).all()
    assert (out.origin[1:4] == GENERATED).all()
    assert (out.origin[4:] == ORIGINAL).all()
    assert out.journey == Journey(1, 1, 56, 24, 0, 0, 112, 112 - 48)


def test_a_generated_value_is_never_nodata() -> None:
    dn = np.full((2, 4, 4), 700, np.uint16)
    out = travel(scene_of(dn), Net(lambda r: np.full_like(r.pixels, -0.3)))
    assert (out.dn == 1).all()


def test_feathering_stays_inside_the_mask_and_is_marked() -> None:
    dn = np.full((2, 21, 21), 1000, np.uint16)
    mask = np.zeros((21, 21), bool)
    mask[5:16, 5:16] = True
    net = Net(lambda r: np.full_like(r.pixels, 0.9))
    out = travel(scene_of(dn), net, mask=mask, road=Road(feather_px=3))
    assert (out.dn[:, ~mask] == 1000).all()
    assert out.dn[0, 10, 10] == 9000
    assert 1000 < out.dn[0, 5, 10] < 9000
    assert out.origin[5, 10] == FEATHERED
    assert out.origin[10, 10] == GENERATED
    assert (out.origin[~mask] == ORIGINAL).all()


def test_a_cloud_that_touches_nodata_is_replaced_in_full_there() -> None:
    dn = np.full((2, 21, 21), 1000, np.uint16)
    dn[:, :, :8] = 0
    mask = np.zeros((21, 21), bool)
    mask[5:16, 8:16] = True
    net = Net(lambda r: np.full_like(r.pixels, 0.9))
    out = travel(scene_of(dn), net, mask=mask, road=Road(feather_px=3, size_px=16))
    assert out.dn[0, 10, 8] == 9000
    assert 1000 < out.dn[0, 10, 15] < 9000
    assert (out.dn[:, :, :8] == 0).all()


def test_tiles_without_a_cloud_never_reach_the_network() -> None:
    mask = np.zeros((96, 96), bool)
    mask[40, 40] = True
    net = identity()
    out = travel(scene_of(random_dn((96, 96), "uint16", 1)), net, mask=mask, road=Road(size_px=32))
    assert net.asked == [(1, 2, 32, 32)]
    assert out.journey.n_translated == 1
    assert out.journey.n_tiles > 1


def test_bands_that_the_model_does_not_know_pass_unchanged() -> None:
    dn = random_dn((20, 20), "uint16", 3, n_bands=4)
    net = Net(lambda r: r.pixels * 0 + 0.5, bands_in=("b3", "b1"), bands_out=("b3", "b1"))
    out = travel(scene_of(dn, nodata=None), net)
    np.testing.assert_array_equal(out.dn[[0, 2]], dn[[0, 2]])
    assert (out.dn[[1, 3]] == 5000).all()


def _unet():
    """A U-Net of two levels with random weights: stride 4, looks 16 px around (counted below)."""
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(5)

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.top, self.mid = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
            self.low, self.up = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(16, 8, 3, padding=1)
            self.out = nn.Conv2d(16, 2, 3, padding=1)

        def forward(self, x):
            top = torch.tanh(self.top(x))
            mid = torch.tanh(self.mid(nn.functional.max_pool2d(top, 2)))
            low = torch.tanh(self.low(nn.functional.max_pool2d(mid, 2)))
            wide = nn.functional.interpolate(low, scale_factor=2.0, mode="nearest")
            mid = torch.tanh(self.up(torch.cat([mid, wide], 1)))
            wide = nn.functional.interpolate(mid, scale_factor=2.0, mode="nearest")
            return self.out(torch.cat([top, wide], 1))

    net = UNet().eval()

    def answer(request: Request) -> np.ndarray:
        with torch.no_grad():
            return net(torch.from_numpy(request.pixels)).numpy()

    return replace(identity(), answer=answer, stride_px=4, halo_px=16), net


def test_the_halo_of_the_test_network_is_counted() -> None:
    torch = pytest.importorskip("torch")
    _, net = _unet()
    reach = 0
    for phase in range(4):
        x = torch.zeros(1, 2, 96, 96, requires_grad=True)
        net(x + 0.1 * torch.randn(1, 2, 96, 96))[0, :, 48 + phase, 48 + phase].sum().backward()
        rows = torch.nonzero(x.grad.abs().sum((0, 1, 3))).flatten() - 48 - phase
        reach = max(reach, int(rows.abs().max()))
    assert 12 < reach <= 16


@given(
    st.integers(0, 60),
    st.integers(0, 60),
    st.integers(40, 80),
    st.integers(40, 80),
    st.sampled_from([16, 32, 64]),
    st.sampled_from([16, 32, 64]),
    st.integers(1, 3),
)
def test_the_result_does_not_depend_on_the_window_or_the_tile_grid(
    row, col, height, width, size, other_size, batch
):
    net, _ = _unet()
    dn = random_dn((140, 140), "uint16", 11)
    whole = travel(scene_of(dn, nodata=None), net, road=Road(size_px=size))
    part = dn[:, row : row + height, col : col + width]
    cut = travel(
        scene_of(part, nodata=None, origin=(row, col)), net, road=Road("exact", other_size, batch)
    )
    # where the window shows all that a pixel depends on; its own edges see the reflection
    low_row, high_row = (16 if row else 0), height - (16 if row + height < 140 else 0)
    low_col, high_col = (16 if col else 0), width - (16 if col + width < 140 else 0)
    inside = np.s_[:, low_row:high_row, low_col:high_col]
    expected = whole.dn[:, row : row + height, col : col + width]
    difference = cut.dn[inside].astype(int) - expected[inside].astype(int)
    assert np.abs(difference).max(initial=0) <= 1  # one DN: float32 sums in another order


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from([64, 128]))
def test_under_a_mask_the_network_answers_as_it_would_without(seed, n_clouds, size):
    net, _ = _unet()
    scene = scene_of(random_dn((140, 140), "uint16", 11), nodata=None)
    rng = np.random.default_rng(seed)
    mask = np.zeros((140, 140), bool)
    for _ in range(n_clouds):
        row, col = rng.integers(0, 130, 2)
        mask[row : row + 9, col : col + 9] = True
    alone = travel(scene, net, mask=mask, road=Road(size_px=size)).dn[:, mask].astype(int)
    everything = travel(scene, net, road=Road(size_px=size)).dn[:, mask].astype(int)
    assert np.abs(alone - everything).max() <= 1


def test_only_the_surroundings_of_a_cloud_are_read() -> None:
    mask = np.zeros((512, 512), bool)
    mask[100, 100] = mask[400, 300] = True
    net = replace(identity(), halo_px=16, stride_px=8)
    travel(scene_of(random_dn((512, 512), "uint16", 1)), net, mask=mask, road=Road(size_px=512))
    assert sum(shape[0] * shape[2] * shape[3] for shape in net.asked) < 512 * 512 / 8


def test_a_halo_that_is_too_small_shows_the_grid() -> None:
    net, _ = _unet()
    dn = random_dn((140, 140), "uint16", 11)
    blind = replace(net, halo_px=0)
    results = [travel(scene_of(dn, nodata=None), blind, road=Road(size_px=s)).dn for s in (16, 64)]
    assert np.abs(results[0].astype(int) - results[1].astype(int)).max() > 50


@pytest.mark.parametrize("size", [16, 48])
def test_what_another_date_saw_is_told_from_what_was_drawn(size: int) -> None:
    random = np.random.default_rng(0)
    mask, observed = random.random((40, 33)) < 0.5, random.random((40, 33)) < 0.5
    dn = random_dn((40, 33), "uint16", 1)
    dn[:, :, 30:] = 0
    net = replace(identity(), answer=lambda r: np.full_like(r.pixels, 0.5))
    out = travel(scene_of(dn), net, mask=mask, observed=observed, road=Road(size_px=size))
    is_valid = (dn > 0).any(0)
    expected = np.where(mask, np.where(observed, OTHER_DATE, GENERATED), ORIGINAL)
    np.testing.assert_array_equal(out.origin, np.where(is_valid, expected, NODATA))
    assert out.journey.n_observed == (is_valid & mask & observed).sum()
    assert out.journey.n_generated == (is_valid & mask & ~observed).sum()


def test_fast_mode_hides_most_of_a_step_between_tiles() -> None:
    def biased(request: Request) -> np.ndarray:  # as a norm over the tile would: its mean is lost
        return request.pixels - request.pixels.mean((2, 3), keepdims=True) + 0.5

    ramp = np.linspace(1000, 9000, 256).astype(np.uint16)
    dn = np.broadcast_to(ramp, (2, 256, 256)).copy()
    net = Net(biased, halo_px=100)
    scene = scene_of(dn, nodata=None)
    fast = travel(scene, net, road=Road("fast", 64)).dn.astype(int)
    hard = travel(scene, replace(net, halo_px=0), road=Road("exact", 64)).dn.astype(int)
    assert np.abs(np.diff(fast, axis=2)).max() * 5 < np.abs(np.diff(hard, axis=2)).max()


def test_fast_mode_leaves_no_seam_to_be_seen() -> None:
    torch = pytest.importorskip("torch")
    from geodecloud.learn.networks import UNet

    torch.manual_seed(3)
    net = UNet(2, 2, widths=(8, 16, 32, 64))
    for _ in range(5):
        net(torch.rand(4, 2, 64, 64))
    net.eval()

    def answer(request: Request) -> np.ndarray:
        with torch.no_grad():
            return 0.5 + 0.1 * net(torch.from_numpy(request.pixels)).numpy()

    dn = random_dn((320, 320), "uint16", 5)
    deep = replace(identity(), answer=answer, stride_px=8, halo_px=51)
    scene = scene_of(dn, nodata=None)
    tiling = Tiling.for_prediction((320, 320), 64, origin_px=origin_px(scene.geobox))
    rows = [span.keep_start for span in tiling.rows[1:]]
    cols = [span.keep_start for span in tiling.cols[1:]]
    fast = travel(scene, deep, road=Road("fast", 64)).dn
    assert seam_index(fast.astype(np.float32), rows, cols) <= 1.05
    blind = travel(scene, replace(deep, halo_px=0), road=Road("exact", 64)).dn
    assert seam_index(blind.astype(np.float32), rows, cols) > 1.05


def test_memory_error_halves_the_batch() -> None:
    def small_batches_only(request: Request) -> np.ndarray:
        if len(request.pixels) > 1:
            raise MemoryError
        return request.pixels

    dn = random_dn((64, 64), "uint16", 2)
    out = travel(scene_of(dn), Net(small_batches_only), road=Road("exact", 16, 4))
    np.testing.assert_array_equal(out.dn, dn)


def test_a_tile_too_large_for_memory_is_one_clear_error() -> None:
    def never(_: Request) -> np.ndarray:
        raise MemoryError

    with pytest.raises(ModelError, match="--tile-size"):
        travel(scene_of(random_dn((8, 8), "uint16", 2)), Net(never))


@pytest.mark.parametrize(
    "answer",
    [lambda r: r.pixels[..., :-1], lambda r: r.pixels * np.nan, lambda r: r.pixels[:, :1]],
    ids=["narrow", "NaN", "one band"],
)
def test_a_wrong_answer_is_refused(answer) -> None:
    with pytest.raises(ModelError, match="net answered"):
        travel(scene_of(random_dn((9, 9), "uint16", 2)), Net(answer))


def test_missing_bands_are_named() -> None:
    with pytest.raises(BandError, match="b7"):
        travel(scene_of(random_dn((9, 9), "uint16", 2)), replace(identity(), bands_in=("b7",)))


def test_cancelling_stops_and_leaves_no_thread() -> None:
    def stop(_: object) -> None:
        raise Cancelled

    before = threading.active_count()
    with pytest.raises(Cancelled):
        travel(
            scene_of(random_dn((300, 40), "uint16", 2)),
            identity(),
            road=Road(size_px=16),
            on_progress=stop,
        )
    assert threading.active_count() == before


def test_an_error_of_the_sink_reaches_the_caller() -> None:
    class Full(ArraySink):
        def write(self, *_: object) -> None:
            raise OSError("disk full")

    scene = scene_of(random_dn((64, 64), "uint16", 2))
    with pytest.raises(OSError, match="disk full"), Full(2, (64, 64), "uint16") as sink:
        translate_scene(scene, sink, identity(), road=Road(size_px=16))


def test_progress_counts_every_tile_once() -> None:
    heard = []
    scene = scene_of(random_dn((70, 70), "uint16", 2))
    mask = np.zeros((70, 70), bool)
    mask[:10] = True
    out = travel(scene, identity(), mask=mask, road=Road(size_px=16), on_progress=heard.append)
    done = [progress.done for progress in heard]
    assert done == sorted(done)
    assert done[-1] == heard[-1].total == out.journey.n_tiles
