"""What tests are made of: scenes, grids, awkward sizes, stored numbers, tilings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from affine import Affine
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from odc.geo.geobox import GeoBox

from geodecloud.geo.scene import ArrayScene, without_georeference
from geodecloud.geo.sensors import Band, Sensor
from geodecloud.geo.tiling import Tiling

DTYPES = ("uint8", "int16", "uint16", "float32")
NAMES = ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12")

# One pixel, primes, powers of two and their neighbours: where tilings go wrong.
AWKWARD_PX = (1, 2, 3, 5, 7, 13, 16, 31, 32, 33, 63, 64, 65, 97, 127, 128, 129)

UTM_ORIGIN = (600_000.0, 5_100_000.0)  # metres in EPSG:32632, on the 10 m grid of Sentinel-2


def utm_geobox(shape: tuple[int, int], *, row: int = 0, col: int = 0) -> GeoBox:
    """A 10 m north-up grid in UTM zone 32; its corner lies ``row``, ``col`` pixels further in."""
    x, y = UTM_ORIGIN
    return GeoBox(shape, Affine(10, 0, x + 10 * col, 0, -10, y - 10 * row), "EPSG:32632")


def make_sensor(n_bands: int = 4, dtype: str = "uint16", nodata: float | None = 0) -> Sensor:
    """A sensor of this many bands, scaled as its dtype suggests."""
    scale = {"uint8": 1 / 255, "float32": 1.0}.get(dtype, 1e-4)
    bands = (Band(name, scale=scale, nodata=nodata, dtype=dtype) for name in NAMES[:n_bands])
    return Sensor("test", tuple(bands))


def make_scene(
    shape: tuple[int, int] = (96, 80),
    n_bands: int = 4,
    dtype: str = "uint16",
    seed: int = 0,
) -> ArrayScene:
    """A scene of smooth ground with some noise, no nodata, on ``utm_geobox``."""
    random = np.random.default_rng(seed)
    rows, cols = np.mgrid[: shape[0], : shape[1]] / 24
    phase = random.uniform(0, 2 * np.pi, (n_bands, 2, 1, 1))
    ground = 0.2 + 0.1 * np.sin(rows + phase[:, 0]) * np.sin(cols + phase[:, 1])
    ground += random.normal(0, 0.005, ground.shape)
    sensor = make_sensor(n_bands, dtype)
    return ArrayScene(sensor.to_dn(ground), sensor, utm_geobox(shape))


def shapes(max_px: int = 129) -> st.SearchStrategy[tuple[int, int]]:
    """(height, width), each awkward or any size up to ``max_px``."""
    awkward = st.sampled_from([px for px in AWKWARD_PX if px <= max_px])
    side = awkward | st.integers(1, max_px)
    return st.tuples(side, side)


@st.composite
def geoboxes(draw: st.DrawFn, shape: tuple[int, int] | None = None) -> GeoBox:
    """A grid: UTM north-up, south-up or rotated; degrees; none. Corners off the pixel grid too."""
    shape = draw(shapes()) if shape is None else shape
    kind = draw(st.sampled_from(("north-up", "south-up", "rotated", "degrees", "none")))
    row, col = draw(st.tuples(*[st.integers(-50_000, 50_000)] * 2))
    shift = draw(st.sampled_from((0, 0.25, 0.5, 0.75)))  # of a pixel; Landsat's corners are halves
    if kind == "none":
        return without_georeference(shape)
    if kind == "degrees":
        step = draw(st.sampled_from((1e-4, 8.983152841195215e-05, 1 / 3600)))
        affine = Affine(step, 0, step * (col + shift), 0, -step, step * (row / 2 + shift))
        return GeoBox(shape, affine, "EPSG:4326")
    res = draw(st.sampled_from((0.5, 10.0, 15.0, 20.0, 30.0)))
    x, y = UTM_ORIGIN[0] + res * (col / 10 + shift), UTM_ORIGIN[1] + res * (row / 10 + shift)
    affine = Affine(res, 0, x, 0, res if kind == "south-up" else -res, y)
    if kind == "rotated":
        affine = affine * Affine.rotation(draw(st.sampled_from((1, 12.5, 45, 200))))
    return GeoBox(shape, affine, "EPSG:32632")


def nodatas(dtype: str) -> st.SearchStrategy[float | None]:
    """A stored number that means "no measurement" in this dtype, or None."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return st.sampled_from((None, 0.0, -9999.0, float(np.finfo(kind).min), np.nan))
    info = np.iinfo(kind)
    return st.sampled_from((None, 0, info.min, info.max, info.max // 2))


@st.composite
def sensors(draw: st.DrawFn, dtype: str | None = None, max_bands: int = 4) -> Sensor:
    """A sensor of one dtype; each band has its own scale, offset and nodata."""
    dtype = draw(st.sampled_from(DTYPES)) if dtype is None else dtype
    encodings = [(1.0, 0.0)] if dtype == "float32" else [(1e-4, 0.0), (1e-4, -0.1), (1 / 255, 0.0)]
    bands = []
    for name in NAMES[: draw(st.integers(1, max_bands))]:
        scale, offset = draw(st.sampled_from(encodings))
        bands.append(
            Band(name, scale=scale, offset=offset, nodata=draw(nodatas(dtype)), dtype=dtype)
        )
    return Sensor("test", tuple(bands))


@st.composite
def dn_arrays(draw: st.DrawFn, sensor: Sensor, shape: tuple[int, int]) -> npt.NDArray[np.generic]:
    """(C, H, W) stored numbers over the whole range of the dtype, holes of nodata among them."""
    dtype = np.dtype(sensor.bands[0].dtype)
    edges = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    special = [edges.min, edges.max, 0, 1, *([np.nan, np.inf, -0.0] if dtype.kind == "f" else [])]
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = (len(sensor.bands), *shape)
    if dtype.kind == "f":
        dn = random.uniform(-1, 2, size).astype(dtype)
    else:
        dn = random.integers(edges.min, edges.max, size, dtype, endpoint=True)
    for band, plane in zip(sensor.bands, dn, strict=True):
        values = [*special, *([] if band.nodata is None else [band.nodata])]
        here = random.random(shape) < draw(st.sampled_from((0, 0.1, 1)))
        plane[here] = random.choice(np.array(values, dtype), int(here.sum()))
    return dn


@st.composite
def scenes(draw: st.DrawFn, max_px: int = 65, dtype: str | None = None) -> ArrayScene:
    """A scene of any grid, dtype and nodata, small enough to compare whole."""
    shape, sensor = draw(shapes(max_px)), draw(sensors(dtype))
    return ArrayScene(draw(dn_arrays(sensor, shape)), sensor, draw(geoboxes(shape)))


def masks(shape: tuple[int, int]) -> st.SearchStrategy[npt.NDArray[np.bool_]]:
    """(H, W) bool; shrinks towards nothing masked."""
    return arrays(bool, shape)


@st.composite
def chip_tilings(draw: st.DrawFn) -> Tiling:
    """A tiling for chips: any size, any overlap below it, scenes smaller than a chip too."""
    size_px = draw(st.integers(1, 70))
    return Tiling.for_chips(draw(shapes()), size_px, draw(st.integers(0, size_px - 1)))


@st.composite
def prediction_grids(draw: st.DrawFn) -> dict[str, int]:
    """``size_px``, ``halo_px`` and ``stride_px`` that go together."""
    stride_px = draw(st.sampled_from((1, 2, 8, 16, 32)))
    return {
        "size_px": stride_px * draw(st.integers(1, max(1, 64 // stride_px))),
        "halo_px": draw(st.integers(0, 40)),
        "stride_px": stride_px,
    }


@st.composite
def prediction_tilings(draw: st.DrawFn) -> Tiling:
    """A tiling for prediction, anywhere on the CRS grid."""
    origin_px = draw(st.tuples(*[st.integers(-600_000, 600_000)] * 2))
    return Tiling.for_prediction(draw(shapes()), **draw(prediction_grids()), origin_px=origin_px)


def tilings() -> st.SearchStrategy[Tiling]:
    """Tilings of both kinds."""
    return chip_tilings() | prediction_tilings()
