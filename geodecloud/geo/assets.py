"""Asset: a raster that a catalog names, on a server or here, and what the catalog says of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from affine import Affine
from odc.geo.geobox import GeoBox

from geodecloud.errors import BandError
from geodecloud.geo import guard
from geodecloud.geo.fetching import Fetcher
from geodecloud.geo.layers import Layer
from geodecloud.geo.links import check_reach, is_file, path_of, redacted
from geodecloud.geo.plausible import better_offset
from geodecloud.geo.profile import Profile
from geodecloud.geo.radiometry import OTHERS, Overrides, sensor_of
from geodecloud.geo.raster import open_layers
from geodecloud.geo.remote import RemoteRaster
from geodecloud.geo.scene import Scene
from geodecloud.geo.sensors import CLASS_BANDS, Band, Sensor
from geodecloud.geo.trees import Entry


@dataclass(frozen=True)
class AssetBand:
    """A band of an asset: ``value = dn * scale + offset``; None where the catalog does not say."""

    name: str
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None

    def over(self, band: Band) -> Band:
        """The band as the file has it, with what the catalog says of its numbers."""
        if band.name in CLASS_BANDS | OTHERS:
            return band
        return replace(
            band,
            scale=band.scale if self.scale is None else self.scale,
            offset=band.offset if self.offset is None else self.offset,
            nodata=self.nodata if band.nodata is None else band.nodata,
        )


@dataclass(frozen=True)
class Asset:
    """A raster that a catalog names.

    Attributes:
        href: a URL, or a path.
        bands: in the order of its channels; none where the file says it.
        level: of the product, where it is known.
        crs, transform, shape: where its pixels lie, for a file that does not say it: a CRS by its
            code or WKT, six numbers by rows, (height, width).
        is_shifted: the product's numbers are said to be 1000 too high, as Sentinel-2's are since
            baseline 04.00; believed where the pixels agree.
    """

    href: str
    bands: tuple[AssetBand, ...]
    level: str | None = None
    crs: str | None = None
    transform: tuple[float, ...] | None = None
    shape: tuple[int, int] | None = None
    is_shifted: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as strings and numbers."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what ``to_json`` has written."""
        bands = tuple(AssetBand(**band) for band in content["bands"])
        places = {
            name: None if content[name] is None else tuple(content[name])
            for name in ("transform", "shape")
        }
        return cls(**{**content, "bands": bands, **places})

    @property
    def grid(self) -> GeoBox | None:
        """Where its pixels lie, as far as the catalog says."""
        if self.crs is None or self.shape is None or self.transform is None:
            return None
        return GeoBox(self.shape, Affine(*self.transform[:6]), self.crs)


@dataclass(frozen=True)
class _AssetLayer(Layer):
    """The layer of an asset: the file's metadata and over them what the catalog says."""

    asset: Asset = Asset("", ())

    def meaning(
        self, profile: Profile, shape: tuple[int, int], asked: Overrides, n_before: int = 0
    ) -> tuple[Sensor, Profile]:
        told = self.asset.bands
        if told and len(told) != profile.n_bands:
            raise BandError(
                f"{redacted(self.asset.href)} holds {profile.n_bands} bands",
                f"its catalog says {len(told)}: {', '.join(band.name for band in told)}",
                "ask who made the catalog",
            )
        named = Overrides(tuple(b.name for b in told) or None, level=self.asset.level)
        sensor = sensor_of(profile, self.entry.path.stem, shape, named, n_before)
        pairs = zip(told or map(AssetBand, sensor.band_names), sensor.bands, strict=True)
        bands = tuple(asked.over(one.over(other)) for one, other in pairs)
        sensor = replace(sensor, bands=bands)
        return sensor, profile.declaring(sensor)


@contextmanager
def open_assets(
    assets: Sequence[Asset],
    fetcher: Fetcher,
    *,
    resolution_m: float | None = None,
    notes: list[str] | None = None,
) -> Iterator[Scene]:
    """Give rasters that a catalog names as one scene; what is read of servers comes by windows.

    Of the offset that the catalog tells, or that the product's baseline asks for, the pixels have
    the last word.

    Args:
        assets: in the order of their bands.
        fetcher: asks the servers.
        resolution_m: pixel size of the scene; None takes that of the finest file.
        notes: takes what the user should know.

    Raises:
        NetworkError: a server does not answer as it should.
        InputError: as ``open_scene``; or a link leads where it must not.
    """
    with ExitStack() as stack:
        layers = [_layer(asset, fetcher, stack) for asset in assets]
        scene = stack.enter_context(open_layers(layers, None, resolution_m))
        offset = _settled(scene, assets)
        if offset is not None:
            asked = Overrides(offset=offset)
            scene = stack.enter_context(open_layers(layers, asked, resolution_m))
            if notes is not None:
                found = "too low for" if offset == 0 else "those of"
                notes.append(
                    f"the darkest pixels are {found} an offset of -1000: taken is {offset:.0f}, "
                    "whatever the catalog says"
                )
        yield scene


def _layer(asset: Asset, fetcher: Fetcher, stack: ExitStack) -> _AssetLayer:
    check_reach(asset.href, fetcher.network.reach)
    if is_file(asset.href):
        entry = Entry(guard.existing(Path(path_of(asset.href))))
    else:
        part = stack.enter_context(RemoteRaster(asset.href, fetcher))
        entry = Entry(part.name, str(part.local), part.start, part)
    return _AssetLayer(entry, grid=asset.grid, asset=asset)


def _settled(scene: Scene, assets: Sequence[Asset]) -> float | None:
    """The offset that the pixels speak for against the catalog; None where they agree."""
    kinds = CLASS_BANDS | OTHERS
    names = [band.name for asset in assets for band in asset.bands if band.name not in kinds]
    if not names or scene.sensor.unit != "reflectance":
        return None
    offset = better_offset(scene.select(names))
    is_told = any(asset.is_shifted for asset in assets)
    return offset if offset == 0 or is_told else None
