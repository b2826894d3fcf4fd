"""Layer: which files a scene is made of, and what is said of each before it is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from odc.geo.geobox import GeoBox

from geodecloud.errors import BandError, InputError
from geodecloud.geo import guard
from geodecloud.geo.manifest import holds_chips
from geodecloud.geo.products import (
    Product,
    ProductFile,
    find_product,
    is_metadata_of_safe,
    sentinel2_around,
)
from geodecloud.geo.profile import Profile
from geodecloud.geo.radiometry import Overrides, known_name, sensor_of
from geodecloud.geo.sensors import CLASS_BANDS, Band, Sensor
from geodecloud.geo.trees import Archive, Entry, open_tree

Source = str | PathLike[str]


@dataclass(frozen=True, slots=True)
class Layer:
    """A raster file of a scene, and what its product says of it.

    Attributes:
        entry: the file.
        product: where it comes from; None where it comes alone.
        band: what its numbers mean; None where the file says that itself.
        grid: where its pixels lie, for a file that does not say it.
    """

    entry: Entry
    product: Product | None = None
    band: Band | None = None
    grid: GeoBox | None = None

    def meaning(
        self, profile: Profile, shape: tuple[int, int], asked: Overrides, n_before: int = 0
    ) -> tuple[Sensor, Profile]:
        """Return what the opened file's numbers mean, and how it stores them.

        What the product, or a sensor of the caller's own, says is declared in the profile: it
        would be lost with the product's metadata.
        """
        if self.product is None or self.band is None or asked.sensor is not None:
            sensor = sensor_of(profile, self.entry.path.stem, shape, asked, n_before)
            return sensor, profile if asked.sensor is None else profile.declaring(sensor)
        name = _known(asked.bands[0]) if asked.bands else self.band.name
        band = asked.over(replace(self.band, name=name, dtype=profile.dtype))
        sensor = Sensor(
            self.product.sensor,
            (band,),
            unit="class" if band.name in CLASS_BANDS else "reflectance",
            level=asked.level or self.product.level,
        )
        profile = replace(profile, tags={**profile.tags, **self.product.tags})
        return sensor, profile.declaring(sensor)


def find_layers(
    source: Source | Sequence[Source], asked: Overrides, resolution_m: float | None = None
) -> list[Layer]:
    """Return the files that a source names: a product's, or those that are there.

    Args:
        source: a file, a folder, a .zip, the metadata of a SAFE product, or a list of files.
        asked: of a product, only the bands that are named here are taken.
        resolution_m: pixel size that is wanted, where a product has several.

    Raises:
        InputError: nothing is there, or it is not to be opened.
        BandError: the product has no such band.
    """
    if isinstance(source, str | PathLike):
        path = guard.existing(source)
        tree = open_tree(path.parent if is_metadata_of_safe(path.name) else path)
        if tree is not None and (product := find_product(tree)) is not None:
            return _layers(product, asked, resolution_m)
        if isinstance(tree, Archive):
            raise guard.no_product(path)
        if holds_chips(path):
            raise InputError(
                f"{path} holds chips that geodecloud cut",
                "a scene is opened",
                "put them together by geodecloud mosaic, or name one of them",
            )
    return [_layer(path, asked) for path in guard.raster_paths(source)]


def _layer(path: Path, asked: Overrides) -> Layer:
    """A file; where it lies in a Sentinel-2 product, with what the product says of it."""
    try:
        product = sentinel2_around(path)
    except (InputError, OSError):
        if asked.scale is None or asked.offset is None:
            raise
        product = None
    return Layer(Entry(path), product, product.files[0].band if product else None)


def _known(text: str) -> str:
    return known_name(text) or text.strip()


def _layers(product: Product, asked: Overrides, resolution_m: float | None) -> list[Layer]:
    by_name: dict[str, list[ProductFile]] = {}
    for file in product.files:
        by_name.setdefault(file.band_name, []).append(file)
    names = [_known(text) for text in asked.bands or by_name]
    if missing := [name for name in names if name not in by_name]:
        raise BandError(
            f"{product.tree.root} has bands {', '.join(by_name)}; "
            f"{', '.join(missing)} not among them",
            f"needed are {', '.join(names)}",
            "name others with --bands (bands=), or download the whole product",
        )
    chosen = [_finest(by_name[name], resolution_m) for name in names]
    return [Layer(product.tree.entry(file.name), product, file.band) for file in chosen]


def _finest(files: Sequence[ProductFile], resolution_m: float | None) -> ProductFile:
    """The file whose pixels have the size that is wanted, else the one with the smallest."""
    for file in files:
        if resolution_m is not None and file.pixel_m == resolution_m:
            return file
    return min(files, key=lambda file: file.pixel_m or 0)
