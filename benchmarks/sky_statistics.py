"""Synthetic clouds measured beside real ones: histograms, patches, spectra, differences.

Each real scene is compared with its own ground, clouds filled, under synthetic skies of the same
coverage and sun: both are measured by the same instrument. Distances are 0 where the two agree.

    python benchmarks/sky_statistics.py DATA
    python benchmarks/sky_statistics.py DATA --figure docs/figures/skies_statistics.png
    python benchmarks/sky_statistics.py DATA --fit 100

DATA holds ``scenes_cloudy/``, ``ukis_cloudmask_512/`` and ``sen12mscr_pairs/``, at any depth.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from scipy import ndimage

from geodecloud.geo.fill import Fill
from geodecloud.geo.scene import ArrayMask, ArrayScene, shape_of, without_georeference
from geodecloud.geo.sensors import Band, Sensor
from geodecloud.geo.tiling import Window
from geodecloud.learn.clouding import SKY_TYPES
from geodecloud.sky import skies as skies_module
from geodecloud.sky import sky as sky_module
from geodecloud.sky.adjacency import ground_around
from geodecloud.sky.clouds import TYPES, Sky, Truth, apply_sky, random_skies
from geodecloud.sky.kinds import CloudType
from geodecloud.sky.perlin import Places

NAMES = ("B02", "B03", "B04", "B08")
NM = (492.4, 559.8, 664.6, 832.8)
PIXEL_M = 10.0
WINDOW_PX = 256  # of spectra
LEAST_PATCH_PX = 4
THIN_CHANGE = 0.03  # of B02, from which a pixel of a pair counts as cloudy
# In the sum that is fitted: what counts as a distance of 1.
UNIT = {"histogram": 0.1, "patches": 0.2, "spectrum": 0.2, "thin": 0.2, "shadow": 0.5}
SEEDS = 3


@dataclass(frozen=True)
class Case:
    """A real cloudy scene: reflectance (4, H, W), its clouds and shadows, the ground below."""

    name: str
    real: np.ndarray
    is_cloud: np.ndarray
    shadow_share: float
    ground: np.ndarray
    is_toa: bool
    limit: float
    sun: tuple[float, float]


@dataclass(frozen=True)
class Measured:
    """What the instrument says of a scene."""

    coverage: float
    values: np.ndarray  # (4, n) of cloudy pixels
    areas: np.ndarray  # of patches, ha
    spectrum: np.ndarray  # of B02, by ring of frequency, sum 1
    shadow_share: float


def measure(reflectance: np.ndarray, is_cloud: np.ndarray, shadow_share: float) -> Measured:
    """The same for real and for synthetic clouds."""
    labels, n_patches = ndimage.label(is_cloud)
    areas = np.bincount(labels.ravel(), minlength=n_patches + 1)[1:]
    areas = areas[areas >= LEAST_PATCH_PX] * (PIXEL_M**2 / 1e4)
    values = np.sort(reflectance[:, is_cloud], axis=1)
    return Measured(
        is_cloud.mean(), values, np.sort(areas), spectrum_of(reflectance[0]), shadow_share
    )


def spectrum_of(plane: np.ndarray) -> np.ndarray:
    """Mean power by ring of frequency, of windows that half overlap, sum 1."""
    taper = np.outer(*[np.hanning(WINDOW_PX)] * 2)
    frequency = np.hypot(np.fft.fftfreq(WINDOW_PX)[:, None], np.fft.rfftfreq(WINDOW_PX)[None])
    ring = np.round(np.log2(np.maximum(frequency * WINDOW_PX, 1)) * 2).astype(int)
    power = np.zeros(ring.shape)
    half = WINDOW_PX // 2
    for row in range(0, plane.shape[0] - WINDOW_PX + 1, half):
        for col in range(0, plane.shape[1] - WINDOW_PX + 1, half):
            window = np.clip(plane[row : row + WINDOW_PX, col : col + WINDOW_PX], 0, 1.5)
            power += abs(np.fft.rfft2((window - window.mean()) * taper)) ** 2
    rings = np.bincount(ring.ravel(), power.ravel())[1:14]
    return rings / rings.sum()


def quantiles(values: np.ndarray) -> np.ndarray:
    return np.quantile(values, np.linspace(0.01, 0.99, 99), axis=-1)


def distances(real: Measured, made: Measured) -> dict[str, float]:
    """How far apart two scenes are, 0 and up.

    histogram: mean Wasserstein distance of the bands, in reflectance; patches: Kolmogorov and
    Smirnov's of their areas; spectrum: root mean square of the decimal logarithms' difference;
    thin: difference of the shares of cloud below 0.35 in B02; shadow: of the logarithms of the
    shares of shadow.
    """
    grid = np.sort(np.concatenate([real.areas, made.areas]))
    shares = [np.searchsorted(m.areas, grid, side="right") / len(m.areas) for m in (real, made)]
    logs = np.log10(real.spectrum) - np.log10(made.spectrum)
    thin = [(m.values[0] < 0.35).mean() for m in (real, made)]
    shadow = abs(np.log(max(made.shadow_share, 1e-3) / max(real.shadow_share, 1e-3)))
    return {
        "histogram": float(abs(quantiles(real.values) - quantiles(made.values)).mean()),
        "patches": float(abs(shares[0] - shares[1]).max()),
        "spectrum": float(np.sqrt((logs**2).mean())),
        "thin": float(abs(thin[0] - thin[1])),
        "shadow": float(shadow),
    }


def clouded(case: Case, type: str, seed: int) -> tuple[np.ndarray, Truth, Measured]:
    """The case's ground under a synthetic sky that the instrument finds as large as the real."""
    shape = case.ground.shape[1:]
    places = Places(np.zeros(1), np.zeros(1), PIXEL_M, shape)
    around = ground_around(case.ground[None], PIXEL_M)
    coverage = wanted = case.is_cloud.mean()
    # a thin rim is cloud, but not for the instrument: ask for as much more as it misses
    for _ in range(3):
        sky = drawn_sky(case, type, seed, coverage)
        cloudy, truth = apply_sky(
            case.ground[None], NM, sky, places, is_toa=case.is_toa, around=around
        )
        is_cloud = found(cloudy[0], case.ground, case.limit)
        coverage = float(np.clip(coverage * wanted / max(is_cloud.mean(), 0.01), 0.01, 0.95))
    shade = truth.is_shadow[0, 0] & (truth.shadow_strength[0, 0] > 0.3)
    return cloudy[0], truth, measure(cloudy[0], is_cloud, float(shade.mean()))


def drawn_sky(case: Case, type: str, seed: int, coverage: float) -> Sky:
    """A sky of this type, with numbers drawn as those of chips are."""
    skies = random_skies(np.asarray([seed]), (type,))
    numbers = {name: float(getattr(skies, name)[0]) for name in ("cell_m", "depth", "edge")}
    numbers["cloud_height_m"] = float(skies.height_m[0])
    geobox = without_georeference(case.ground.shape[1:])
    return Sky.for_scene(geobox, coverage, type, seed, case.sun, **numbers)


def found(cloudy: np.ndarray, ground: np.ndarray, limit: float) -> np.ndarray:
    """The instrument's clouds: brighter in B02 than this, and not by the ground itself."""
    return (cloudy[0] > limit) & (cloudy[0] > ground[0] + THIN_CHANGE)


def filled(reflectance: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The ground with what is masked drawn from what is clear around it."""
    mask = ndimage.binary_dilation(mask, iterations=12)
    sensor = Sensor("", tuple(Band(name, dtype="float32") for name in NAMES))
    scene = ArrayScene(reflectance.astype(np.float32), sensor)
    fill = Fill.build(scene, ArrayMask(mask)).read(Window.whole(shape_of(scene.geobox)))
    return np.where(mask, fill, reflectance).astype(np.float32)


def zurich(data: Path) -> Case:
    """Cumulus over Switzerland, L2A; clouds by brightness, shadows by darkness in B08."""
    import rasterio

    (path,) = data.rglob("20190530_T32TMT*")
    with rasterio.open(path) as scene:
        bands = [scene.descriptions.index(name) + 1 for name in NAMES]
        real = scene.read(bands).astype(np.float32) / 1e4
    limit = 0.2
    is_cloud = ndimage.binary_opening(real[0] > limit, iterations=1)
    is_dark = ndimage.binary_opening((real[3] < 0.15) & (real[0] < 0.05), iterations=3)
    ground = filled(real, is_cloud | is_dark)
    return Case("Zurich, L2A", real, is_cloud, is_dark.mean(), ground, False, limit, (148.0, 62.0))


def ukis(data: Path) -> Case:
    """Cumulus over fields, top of atmosphere, with its reference mask."""
    (path,) = data.rglob("ukis_cloudmask_512/*.npz")
    with np.load(path) as held:
        real = np.moveaxis(held["img"], -1, 0)[:4].astype(np.float32)
        mask = held["msk"][..., 0]
    is_cloud, is_shadow = mask == 4, mask == 0
    ground = filled(real, is_cloud | is_shadow | (mask == 1))
    return Case("ukis, TOA", real, is_cloud, is_shadow.mean(), ground, True, 0.2, (150.0, 55.0))


def compared(case: Case, type: str = "cumulus") -> dict[str, float]:
    """Mean distances of a case to synthetic skies of several seeds."""
    real = measure(case.real, case.is_cloud, case.shadow_share)
    made = [distances(real, clouded(case, type, seed)[2]) for seed in range(SEEDS)]
    return {name: float(np.mean([each[name] for each in made])) for name in made[0]}


def pairs(data: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Clear and cloudy reflectance of the pairs of SEN12MS-CR that hold clouds."""
    import rasterio

    for path in sorted(data.rglob("*_s2_cloudy_*.tif")):
        both = []
        for name in (path.name.replace("s2_cloudy", "s2"), path.name):
            with rasterio.open(path.with_name(name)) as scene:
                both.append(scene.read().astype(np.float32) / 1e4)
        if 0.1 < ((both[1] - both[0])[0] > THIN_CHANGE).mean() < 0.98 and np.median(both[0]) > 0.02:
            yield both[0], both[1]


def pair_differences(data: Path, types: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Cloudy minus clear in four bands (4, n), of real pairs and of the same ground clouded."""
    real, made = [], []
    for number, (clear, cloudy) in enumerate(pairs(data)):
        change = cloudy - clear
        is_cloudy = change[0] > THIN_CHANGE
        real.append(change[:, is_cloudy][:, ::16])
        share = float(np.clip(is_cloudy.mean(), 0.05, 0.95))
        many = 6
        skies = random_skies(
            np.arange(many) + 100 * number,
            types,
            coverage=(share, share),
            sun_elevation_deg=(30, 60),
        )
        places = Places(np.zeros(many), np.zeros(many), PIXEL_M, clear.shape[1:])
        chips = np.repeat(clear[None], many, 0)
        around = ground_around(chips, PIXEL_M)
        change = apply_sky(chips, NM, skies, places, is_toa=True, around=around)[0] - chips
        change = np.moveaxis(change, 1, 0)
        made.append(change[:, change[0] > THIN_CHANGE][:, :: 16 * many])
    return np.concatenate(real, 1), np.concatenate(made, 1)


def tell(data: Path) -> None:
    for case in (zurich(data), ukis(data)):
        real = measure(case.real, case.is_cloud, case.shadow_share)
        made = [clouded(case, "cumulus", seed)[2] for seed in range(SEEDS)]
        print(f"\n{case.name}")
        for what, m in (("real", real), *(("synthetic", m) for m in made)):
            print(f"  {what:9} cloud {m.coverage:.1%}, shadow {m.shadow_share:.1%}, "
                  f"{len(m.areas)} patches, median {np.median(m.areas):.2f} ha")  # fmt: skip
        for what, m in (("real", real), ("synthetic", made[0])):
            tell_tenths(what, m.values)
        found = [distances(real, m) for m in made]
        for name in found[0]:
            print(f"  distance {name:10} {np.mean([each[name] for each in found]):.3f}")
    change = dict(zip(("real", "synthetic"), pair_differences(data, SKY_TYPES), strict=True))
    print("\npairs, cloudy minus clear")
    for what, values in change.items():
        tell_tenths(what, values)
    apart = abs(quantiles(change["real"]) - quantiles(change["synthetic"])).mean()
    print(f"  distance histogram {apart:.3f}")
    for what, values in change.items():
        for low, high in ((0.03, 0.15), (0.15, 0.4), (0.4, 1.5)):
            here = (values[0] > low) & (values[0] <= high)
            ratios = np.median(values[1:, here] / values[0, here], axis=1)
            print(f"  {what:9} B02 +{low} to +{high}: B03, B04, B08 over B02 {ratios.round(2)}")


def tell_tenths(what: str, values: np.ndarray) -> None:
    tenths = np.quantile(values, [0.1, 0.25, 0.5, 0.75, 0.9], axis=1).T
    for name, row in zip(NAMES, tenths, strict=True):
        print(f"  {what:9} {name} " + " ".join(f"{value:.2f}" for value in row))


def draw(target: Path, data: Path) -> None:
    """Write the figure: real clouds and synthetic ones on one ground, and what is measured."""
    from io import BytesIO

    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from PIL import Image

    figure, axes = plt.subplots(2, 4, figsize=(12, 6.2), dpi=100, layout="constrained")
    for i, case in enumerate((zurich(data), ukis(data))):
        real = measure(case.real, case.is_cloud, case.shadow_share)
        pictures = [("real", case.real)]
        for seed in range(SEEDS):
            cloudy, _, made = clouded(case, "cumulus", seed)
            colour, name = f"C{i}", None if seed else f"{case.name}, synthetic"
            draw_measured(axes[1], made, {"color": colour, "alpha": 0.45, "label": name})
            pictures += [("synthetic", cloudy)] if seed == 0 else []
        draw_measured(axes[1], real, {"color": f"C{i}", "lw": 2, "ls": "--", "label": case.name})
        for axis, (what, reflectance) in zip(axes[0, 2 * i :], pictures, strict=False):
            rgb = np.moveaxis(reflectance[[2, 1, 0], :512, -512:], 0, -1)
            axis.imshow(np.clip(rgb / 0.9, 0, 1) ** (1 / 1.7))
            axis.set_title(f"{case.name}: {what}", fontsize=9)
            axis.set_axis_off()
    for change, style in zip(pair_differences(data, SKY_TYPES), ("--", "-"), strict=True):
        for band, colour in ((0, "C0"), (3, "C3")):
            name = f"{NAMES[band]}, {'real' if style == '--' else 'synthetic'}"
            axes[1, 3].plot(
                quantiles(change)[:, band], np.linspace(1, 99, 99), style, c=colour, label=name
            )
    titles = ("B02 of clouds, share below", "area of patches (ha), share below",
              "power of B02 by wavelength (m)", "cloudy minus clear, share below")  # fmt: skip
    for axis, title in zip(axes[1], titles, strict=True):
        axis.set_title(title, fontsize=9)
        axis.tick_params(labelsize=7)
    for axis in axes[1, [0, 3]]:
        axis.legend(fontsize=6)
    page = BytesIO()
    figure.savefig(page, format="png")
    Image.open(page).convert("RGB").quantize(128).save(target, optimize=True)
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


def draw_measured(axes: Sequence[Any], measured: Measured, style: dict[str, Any]) -> None:
    axes[0].plot(quantiles(measured.values)[:, 0], np.linspace(1, 99, 99), **style)
    axes[1].semilogx(measured.areas, np.linspace(0, 100, len(measured.areas)), **style)
    wavelengths_m = WINDOW_PX * PIXEL_M / 2 ** (np.arange(1, 14) / 2)
    axes[2].loglog(wavelengths_m, measured.spectrum, **style)


def fit(data: Path, n_tries: int) -> None:
    """Search the numbers of cumulus around those there are; print what comes nearer."""
    cases = (zurich(data), ukis(data))
    random = np.random.default_rng(0)
    best, least = TYPES["cumulus"], np.inf

    def cost(kind: CloudType) -> float:
        kinds = {**TYPES, "cumulus": kind}
        with patch.object(sky_module, "TYPES", kinds), patch.object(skies_module, "TYPES", kinds):
            found = [compared(case) for case in cases]
        return float(np.mean([d[name] / unit for d in found for name, unit in UNIT.items()]))

    for n in range(n_tries):
        kind = best if n == 0 else varied(best, random)
        now = cost(kind)
        if now < least:
            best, least = kind, now
            print(f"{n:4} {now:.3f} {kind}", flush=True)


def varied(kind: CloudType, random: np.random.Generator) -> CloudType:
    def scaled(pair: tuple[float, float]) -> tuple[float, float]:
        low, high = np.sort(np.asarray(pair) * np.exp(random.normal(0, 0.25, 2)))
        return float(f"{low:.3g}"), float(f"{high:.3g}")

    def moved(value: float) -> float:
        return float(f"{value * np.exp(random.normal(0, 0.15)):.3g}")

    return replace(
        kind,
        **{name: scaled(getattr(kind, name)) for name in ("cell_m", "depth", "edge", "height_m")},
        **{name: moved(getattr(kind, name)) for name in ("roughness", "billow", "relief")},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the real scenes")
    parser.add_argument("--figure", type=Path, help="draw the figure of the guide here instead")
    parser.add_argument("--fit", type=int, metavar="TRIES", help="search the numbers of cumulus")
    options = parser.parse_args()
    if options.fit:
        fit(options.data, options.fit)
    elif options.figure:
        draw(options.figure, options.data)
    else:
        tell(options.data)


if __name__ == "__main__":
    main()
