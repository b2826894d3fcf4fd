"""write_esri: chips as ArcGIS exports them for training, and what such a folder says it is."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine

from geodecloud.errors import DataError, OptionError, OutputError
from geodecloud.geo.chips import Chip
from geodecloud.geo.manifest import named
from geodecloud.geo.profile import Profile
from geodecloud.geo.publish import alone, publish
from geodecloud.geo.raster import encode_array
from geodecloud.geo.sensors import Sensor
from geodecloud.progress import Listener, Progress, silent

EMD = "esri_model_definition.emd"
MAP = "map.txt"
STATS = "esri_accumulated_stats.json"
MODES = ("Export_Tiles", "Pix2Pix", "CycleGAN", "WNet_cGAN")
IMAGES = ("images", "images2")

MOST_BYTES = 10_000_000
_OURS = re.compile(r"\d{9}\.(tif|tfw)")


@dataclass(frozen=True, slots=True)
class EsriRaster:
    """One of the rasters that chips are cut from: what its numbers mean, how they are stored."""

    sensor: Sensor
    profile: Profile


@dataclass(slots=True)
class BandStatistics:
    """Least, largest, mean and squared deviations of the numbers of a band, added chip by chip.

    Source: Chan, Golub and LeVeque 1979, for the sum of two parts.
    """

    least: float = math.inf
    most: float = -math.inf
    mean: float = 0.0
    squares: float = 0.0
    count: int = 0

    def add(self, numbers: np.ndarray[Any, Any]) -> None:
        """Take the valid numbers of a chip, (N,)."""
        if not numbers.size:
            return
        values = numbers.astype(np.float64)
        mean, count = float(values.mean()), self.count + values.size
        apart = mean - self.mean
        self.squares += float(((values - mean) ** 2).sum())
        self.squares += apart**2 * self.count * values.size / count
        self.mean += apart * values.size / count
        self.least = min(self.least, float(values.min()))
        self.most = max(self.most, float(values.max()))
        self.count = count

    @property
    def deviation(self) -> float:
        """Standard deviation."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0


@dataclass(slots=True)
class _Written:
    """What was written of one raster."""

    raster: EsriRaster
    bands: list[BandStatistics] = field(default_factory=list)
    n_tiles: int = 0
    shape: tuple[int, int] = (0, 0)
    sizes: tuple[float, float] = (math.inf, 0.0)

    def add(self, chip: Chip) -> None:
        self.bands = self.bands or [BandStatistics() for _ in chip.dn]
        for band, dn, valid in zip(self.bands, chip.dn, chip.valid, strict=True):
            band.add(dn[valid])
        self.n_tiles += 1
        self.shape = chip.tile.read.shape
        cell = math.sqrt(abs(chip.geobox.affine.determinant))
        self.sizes = min(self.sizes[0], cell), max(self.sizes[1], cell)


def is_export(folder: Path) -> bool:
    """Say whether a folder has the files that ArcGIS puts beside its chips."""
    return all((folder / file).is_file() for file in (EMD, MAP, STATS))


def metadata_mode(folder: Path) -> str | None:
    """Return what an export was made for ("Export_Tiles", "CycleGAN"); None where it is none.

    Raises:
        DataError: its model definition is damaged.
    """
    path = folder / EMD
    if not is_export(folder):
        return None
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        return str(json.loads(path.read_bytes())["MetaDataMode"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read ({error})",
            "it is JSON with a MetaDataMode",
            "export the chips again, or pass dataset_type and take the file away",
        ) from error


def write_esri(
    out: str | Path,
    chips: Iterable[Sequence[Chip]],
    rasters: Sequence[EsriRaster],
    *,
    mode: str = "Export_Tiles",
    overwrite: bool = False,
    on_progress: Listener = silent,
) -> int:
    """Write chips as ArcGIS exports them, so that it can train on them; return their number.

    ``images/000000000.tif`` with its world file, ``images2/`` with the chips of the second raster,
    ``map.txt``, statistics, and ``esri_model_definition.emd`` last. A CycleGAN is two such
    folders, ``A`` and ``B``; a WNet_cGAN is ``train_A_C`` of two rasters and ``train_B``.

    Args:
        out: folder, made where it is missing.
        chips: of each place one chip a raster.
        rasters: one or two.
        mode: what the chips are for, one of ``MODES``.
        overwrite: replace the export that is there.
        on_progress: told after each chip; raises ``Cancelled`` to stop.

    Raises:
        OptionError: the mode is not known, or there are more than two rasters.
        OutputError: the folder holds other things, or cannot be written.
    """
    out = Path(out)
    if mode not in MODES or not 1 <= len(rasters) <= len(IMAGES):
        raise OptionError(
            f"mode {mode!r} of {len(rasters)} rasters",
            f"modes are {', '.join(MODES)}, of one raster or two",
            "choose one of them",
        )
    written = [_Written(raster) for raster in rasters]
    folders = [out / name for name in IMAGES[: len(rasters)]]
    n_places = 0
    with alone(out):
        _refuse_others(out, overwrite)
        chips = _begun(chips)  # what fails at once leaves the export that is there
        _clear(out)
        for folder in folders:
            folder.mkdir(exist_ok=True)
        for place in chips:
            for folder, chip, stats in zip(folders, place, written, strict=True):
                _write_chip(folder / f"{n_places:09}.tif", chip, stats.raster.profile)
                stats.add(chip)
            n_places += 1
            on_progress(Progress(n_places, n_places, "export"))
        _write_about(out, written, mode)
    return n_places


def _begun(chips: Iterable[Sequence[Chip]]) -> Iterator[Sequence[Chip]]:
    """The same chips, of which the first was made."""
    rest = iter(chips)
    first = next(rest, None)
    if first is None:
        raise OptionError(
            "no chip to export", "an export has one at least", "give some, or leave out fewer"
        )
    return chain([first], rest)


def _write_chip(path: Path, chip: Chip, profile: Profile) -> None:
    content = encode_array(chip.dn, chip.valid, chip.geobox, profile)
    publish(path, content, overwrite=True, is_synced=False)
    affine = chip.geobox.affine
    # a world file speaks of the middle of the first pixel
    middle = affine * Affine.translation(0.5, 0.5)
    numbers = (affine.a, affine.d, affine.b, affine.e, middle.c, middle.f)
    text = "".join(f"{number:.10f}\n" for number in numbers)
    publish(path.with_suffix(".tfw"), text.encode(), overwrite=True, is_synced=False)


def _write_about(out: Path, written: Sequence[_Written], mode: str) -> None:
    first = written[0]
    lines = (f"images\\{i:09}.tif  labels\\{i:09}.tif\n" for i in range(first.n_tiles))
    publish(out / MAP, "".join(lines).encode(), overwrite=True)
    height, width = first.shape
    summary = (
        f"images =  {first.n_tiles} *{len(first.bands)}*{height}*{width}\nfeatures = 0\n"
        "features per image = [min = 0, mean = 0.00, max = 0]\nclasses = 0\n"
    )
    publish(out / "stats.txt", summary.encode(), overwrite=True)
    publish(out / STATS, _json(_accumulated(first, mode)), overwrite=True)
    publish(out / EMD, _json(_definition(written, mode)), overwrite=True)


def _accumulated(of: _Written, mode: str) -> dict[str, Any]:
    return {
        "Version": 1,
        "NumBands": len(of.bands),
        "TileSizeX": of.shape[1],
        "TileSizeY": of.shape[0],
        "NumClasses": 0,
        "NumTiles": of.n_tiles,
        "OutputFeatures": 0,
        "MetaDataMode": mode,
        "Classes": [],
        "BandStatsState": [
            {"Min": b.least, "Max": b.most, "M1": b.mean, "M2": b.squares, "Num": b.count}
            for b in of.bands
        ],
    }


def _definition(written: Sequence[_Written], mode: str) -> dict[str, Any]:
    names = [of.raster.sensor.band_names for of in written]
    return {
        "MetaDataMode": mode,
        "ImageSpaceUsed": "MAP_SPACE",
        "ImageHeight": written[0].shape[0],
        "ImageWidth": written[0].shape[1],
        "MinCellSize": min(of.sizes[0] for of in written),
        "MaxCellSize": max(of.sizes[1] for of in written),
        "InputRastersProps": {
            "RasterCount": len(written),
            "SensorName": written[0].raster.sensor.name,
            "BandNames": list(names[0]),
        },
        **{
            f"AllTilesStats{'' if number == 1 else number}": [
                {
                    "BandName": name,
                    "Min": band.least,
                    "Max": band.most,
                    "Mean": band.mean,
                    "StdDev": band.deviation,
                }
                for name, band in zip(names[number - 1], of.bands, strict=True)
            ]
            for number, of in enumerate(written, 1)
        },
        "Classes": [],
    }


def _json(content: Mapping[str, Any]) -> bytes:
    # a band without a valid number has no least and no largest: JSON has no infinity
    text = json.dumps(content, indent=1)
    return re.sub(r"-?Infinity", "null", text).encode()


def _refuse_others(out: Path, overwrite: bool) -> None:
    """Refuse to write beside other things, or to replace an export unasked."""
    known = {*IMAGES, EMD, MAP, STATS, "stats.txt", ".lock"}
    found = {path.name for path in out.iterdir()} - {".lock"}
    strangers = sorted(found - known)
    if strangers or (found and not overwrite):
        raise OutputError(
            f"{out} holds {named(strangers or sorted(found))}",
            "an export has a folder of its own",
            "choose an empty folder" + ("" if strangers else ", or pass --overwrite"),
        )


def _clear(out: Path) -> None:
    """Leave nothing that could be taken for a chip of this export."""
    (out / EMD).unlink(missing_ok=True)
    for name in IMAGES:
        for path in (out / name).glob("*") if (out / name).is_dir() else ():
            if _OURS.fullmatch(path.name):
                path.unlink()
        if (out / name).is_dir() and not any((out / name).iterdir()):
            (out / name).rmdir()
