"""The only opener and the only writer of rasters."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
from odc.geo.geobox import GeoBox
from rasterio.io import MemoryFile

from geodecloud.errors import InputError, OutputError
from geodecloud.geo import geotiff, guard
from geodecloud.geo.layers import Layer, find_layers
from geodecloud.geo.plausible import check_radiometry
from geodecloud.geo.profile import Profile, profile_of
from geodecloud.geo.radiometry import Overrides
from geodecloud.geo.scene import Scene, shape_of
from geodecloud.geo.sensor_file import read_sensor
from geodecloud.geo.sensors import Sensor
from geodecloud.geo.stacking import Closing, OpenScene, RasterStack, shown
from geodecloud.geo.tiling import Window
from geodecloud.geo.trees import Entry

__all__ = [
    "Profile", "RasterScene", "RasterSink", "RasterStack", "check_radiometry", "encode_array",
    "open_layers", "open_scene", "opened", "profile_of", "write_array",
]  # fmt: skip

Array = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]
Source = str | os.PathLike[str]
SceneSource = Source | Sequence[Source] | Scene
"""A file, a folder, a list of files of one ground, or what is open already."""
Compression = Literal["deflate", "zstd", "lzw", "none"]


class RasterScene(OpenScene):
    """A raster file as a scene; a context manager.

    ``select`` shares the open file: closing one closes all. Reads from several threads take turns.

    Attributes:
        path: of the file.
        driver: GDAL's name of its format.
        profile: how it stores its pixels.
        geobox: where they lie; ``crs`` is None without georeference.
        sensor: what the numbers mean.
    """

    def __init__(
        self, file: _File, sensor: Sensor, profile: Profile, channels: Sequence[int]
    ) -> None:
        """Take an open file; ``open_scene`` is the way in."""
        self._file, self._channels = file, channels
        self.path, self.driver, self.geobox = file.path, file.driver, file.geobox
        self.sensor, self.profile = sensor, profile

    def read(self, window: Window) -> tuple[Array, Flags]:
        """Return stored numbers and validity of a window, each (C, H, W).

        Valid is what the sensor takes for a measurement and the file's own mask, or alpha band,
        does not hide.

        Raises:
            InputError: this part of the file is damaged.
        """
        if window not in Window.whole(shape_of(self.geobox)):
            raise ValueError(f"{window} reaches beyond the {shape_of(self.geobox)} px of the scene")
        dn, mask = self._file.read([channel + 1 for channel in self._channels], window)
        valid = self.sensor.is_valid(dn)
        return dn, valid if mask is None else valid & (mask > 0)

    def select(self, names: Sequence[str]) -> RasterScene:
        """Return the scene with these bands alone, in the order asked."""
        index = self.sensor.index(names)
        channels = [self._channels[i] for i in index]
        return RasterScene(
            self._file, self.sensor.select(names), self.profile.select(index), channels
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_scene(
    source: Source | Sequence[Source],
    *,
    bands: Sequence[str] | None = None,
    scale: float | None = None,
    offset: float | None = None,
    level: str | None = None,
    sensor: Sensor | Source | None = None,
    resolution_m: float | None = None,
) -> RasterScene | RasterStack:
    """Return a raster file, several files of one ground, or a product, as a scene.

    What opens, and where each fact about it is taken from, stands in docs/formats.md.

    Args:
        source: a GeoTIFF, JPEG 2000, PNG or JPEG; a list of them, which keeps its order; a folder
            or .zip with a product (Sentinel-2 SAFE or Theia, Landsat, Sentinel-1 RTC); or another
            folder, whose *.tif, *.tiff and *.jp2 are taken by name.
        bands: names of the bands, in order; else the file's metadata and name are asked. Of a
            product: which bands.
        scale: value = (dn + offset) * scale; else the file's metadata is asked.
        offset: added to each stored number, such as -1000; else the file's metadata is asked.
        level: product level, "L1C" or "L2A"; else the file's metadata and name are asked.
        sensor: all of that at once, instead of the metadata and ``bands``: a sensor, or the TOML
            file that describes it.
        resolution_m: pixel size of the scene; None takes that of the finest file.

    Raises:
        InputError: a file is missing, damaged, too large, not a raster, or has no plain grid.
        BandError: ``bands`` does not fit the number of bands, or two bands have one name.
        GridError: the files do not show the same ground.
        RadiometryError: radar that is not calibrated, or metadata that are no numbers.
    """
    if not (sensor is None or isinstance(sensor, Sensor)):
        sensor = read_sensor(sensor)
    asked = Overrides(None if bands is None else tuple(bands), scale, offset, level, sensor)
    return open_layers(find_layers(source, asked, resolution_m), asked, resolution_m)


def open_layers(
    layers: Sequence[Layer], asked: Overrides | None = None, resolution_m: float | None = None
) -> RasterScene | RasterStack:
    """Return raster files as one scene, bands in their order; see ``open_scene``."""
    asked = asked or Overrides()
    with ExitStack() as stack:
        files = [stack.enter_context(_File(layer.entry, layer.grid)) for layer in layers]
        asked.check([file.path for file in files], [file.profile.n_bands for file in files])
        scenes, n_before = list[RasterScene](), 0
        for layer, file in zip(layers, files, strict=True):
            n_bands, shape = file.profile.n_bands, shape_of(file.geobox)
            meaning = layer.meaning(file.profile, shape, asked.part(n_before, n_bands), n_before)
            scenes.append(RasterScene(file, *meaning, range(n_bands)))
            n_before += n_bands
        parts = shown(scenes, resolution_m)
        is_plain = len(parts) == 1 and parts[0] is scenes[0]
        scene = scenes[0] if is_plain else RasterStack(parts, scenes)
        stack.pop_all()
    return scene


@contextmanager
def opened(source: SceneSource, **asked: Any) -> Iterator[Scene]:
    """Give an open scene, or open one as asked and close it in the end; see ``open_scene``."""
    if isinstance(source, str | os.PathLike | Sequence):
        with open_scene(source, **asked) as scene:
            yield scene
    else:
        yield source


class RasterSink:
    """A GeoTIFF under construction; it appears under its name whole and verified, or not at all.

    Windows are disjoint and come top to bottom; together they cover the grid. On leaving the
    context the file is read back and compared with what was handed over, then renamed. With an
    error, Ctrl-C included, nothing is left behind.

    Args:
        path: of the file, ``*.tif``.
        geobox: where the pixels lie.
        profile: how they are stored.
        overwrite: replace a file of that name; what lies beside it (.aux.xml, .ovr, .msk) goes.
        cog: a cloud-optimised GeoTIFF with overviews; else a plain tiled one.
        compress: all of them lossless.

    Raises:
        OutputError: the file cannot be written there; before any work is done.
    """

    def __init__(
        self,
        path: Source,
        geobox: GeoBox,
        profile: Profile,
        *,
        overwrite: bool = False,
        cog: bool = True,
        compress: Compression = "deflate",
    ) -> None:
        """Refuse at once what cannot succeed."""
        self.path, self.geobox, self.profile = Path(path).absolute(), geobox, profile
        self._is_cog, self._compress = cog, compress
        n_bytes = profile.pixel_bytes * math.prod(shape_of(geobox)) if cog else 0
        self._publication = geotiff.Publication(self.path, overwrite=overwrite, n_bytes=n_bytes)
        self._ledger = geotiff.Ledger(shape_of(geobox), profile)
        part = self._publication.part
        self._rows = part.with_name(part.name + ".rows") if cog else part
        self._dataset: Any = None

    def __enter__(self) -> Self:
        """Keep other writers out and create the file to write rows into."""
        self._publication.open()
        try:
            _rehearse(self.path, self.geobox, self.profile)
            with self._reported():
                # what the COG driver reads once is not worth compressing
                compress = "none" if self._is_cog else self._compress
                self._dataset = _create(self._rows, self.geobox, self.profile, compress)
        except BaseException:
            self._publication.close()
            raise
        return self

    def write(self, window: Window, pixels: Array, valid: Flags) -> None:
        """Take stored numbers (C, H, W) of a window, and which of them are measurements.

        Validity is stored where the profile is masked: a pixel is hidden where no band is valid.

        Raises:
            OutputError: the disk is full, or gone.
        """
        self._ledger.claim(window, pixels, valid)
        mask = geotiff.mask_of(valid) if self.profile.is_masked else None
        with self._reported():
            for part in self._ledger.cut(window):
                at = part.relative_to(window).slices
                self._dataset.write(pixels[:, *at], window=geotiff.place(part))
                if mask is not None:
                    self._dataset.write_mask(mask[at], window=geotiff.place(part))
                self._ledger.add(part, pixels[:, *at], None if mask is None else mask[at])

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Verify and publish, or clear away."""
        try:
            if kind is None:
                self._publish()
        finally:
            with suppress(*guard.FAILURES), guard.guarded():
                self._dataset.close()
            self._publication.close()

    def _publish(self) -> None:
        if missing := self._ledger.missing():
            raise OutputError(
                f"{missing} px of {self.path} were never written",
                "every pixel is written before the file is closed",
                "write the missing windows",
            )
        part = self._publication.part
        with self._reported():
            self._dataset.close()
            if self._is_cog:
                shape = shape_of(self.geobox)
                options = geotiff.cog_options(shape, self.profile, self._compress)
                _convert(self._rows, part, options)
                self._rows.unlink()
            with _File(Entry(part)) as file:
                damaged = self._ledger.close(file.dataset)
                got = file.geobox, file.profile
                geotiff.check_kept(self.path, (self.geobox, self.profile), got)
        if damaged is not None:
            raise self._publication.failure(f"{damaged} reads back differently")
        self._publication.publish(geotiff.sidecar_of(self.profile))

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Turn what GDAL and the system raise into an error that names the disk."""
        try:
            with guard.guarded():
                yield
        except (*guard.FAILURES, InputError) as error:
            raise self._publication.failure(guard.clause(error)) from error


def write_array(
    path: Source, array: Array, geobox: GeoBox, profile: Profile, **options: Any
) -> None:
    """Write a whole small raster (C, H, W) through ``RasterSink``, whose options these are."""
    with RasterSink(path, geobox, profile, **options) as sink:
        sink.write(Window.whole(shape_of(geobox)), array, np.ones(array.shape, bool))


def encode_array(dn: Array, valid: Flags, geobox: GeoBox, profile: Profile) -> bytes:
    """Return a small raster, stored numbers and validity (C, H, W), as the bytes of a GeoTIFF."""
    with guard.guarded(), guard.quiet(), MemoryFile() as memory:
        with memory.open(**geotiff.creation(geobox, profile, "deflate")) as dataset:
            profile.write_to(dataset)
            dataset.write(dn)
            if profile.is_masked:
                dataset.write_mask(geotiff.mask_of(valid))
        return bytes(memory.getbuffer())


class _File(Closing):
    """An open raster and what its header says.

    Args:
        entry: a file on this disk, in an archive or on a server; its first bytes choose the driver.
        grid: where its pixels lie, for a file that does not say it.
    """

    def __init__(self, entry: Entry, grid: GeoBox | None = None) -> None:
        """Open the file and read its header."""
        path, url = entry.path, entry.url
        self.path, self._part, self._lock = path, entry.part, threading.Lock()
        self.driver = guard.driver_of(path, entry.start)
        try:
            with guard.guarded(), guard.quiet(), ExitStack() as stack:
                # a Path, not a string: rasterio takes the latter apart as a URL
                self.dataset: Any = stack.enter_context(
                    rasterio.open(url or path, driver=self.driver)
                )
                guard.check_size(self.dataset, path)
                self.geobox = guard.geobox_of(self.dataset, path, grid)
                self.profile = Profile.read_from(self.dataset)
                guard.check_numbers(self.profile.dtype, path)
                stack.pop_all()
        except guard.FAILURES as error:
            raise guard.damaged(path, error) from error

    def read(self, indexes: list[int], window: Window) -> tuple[Array, Array | None]:
        """Return stored numbers (C, H, W), and the file's own mask (H, W) where it has one.

        Always at full size: a foreign file may name its overviews, and they are not to be read.
        """
        place, colors = geotiff.place(window), self.profile.colorinterp
        alpha = [colors.index("alpha") + 1] if "alpha" in colors else []
        try:
            with self._lock, guard.guarded():
                if self._part is not None:
                    self._part.need([index - 1 for index in indexes + alpha], window)
                dn, mask = self.dataset.read(indexes, window=place), None
                if self.profile.is_masked:
                    mask = self.dataset.read_masks(1, window=place)
                elif alpha:
                    mask = self.dataset.read(alpha[0], window=place)
        except guard.FAILURES as error:
            raise guard.damaged(self.path, error, window) from error
        return dn, mask

    def close(self) -> None:
        """Close the file."""
        with self._lock, guard.guarded():
            self.dataset.close()


def _rehearse(path: Path, geobox: GeoBox, profile: Profile) -> None:
    """Find out on one pixel, before the work, whether a GeoTIFF can hold all of it."""
    pixel = np.zeros((profile.n_bands, 1, 1), profile.dtype)
    asked = GeoBox((1, 1), geobox.affine, geobox.crs)
    try:
        content = encode_array(pixel, pixel == 0, asked, profile)
        with (
            guard.guarded(),
            guard.quiet(),
            MemoryFile(content) as memory,
            memory.open() as dataset,
        ):
            got = guard.geobox_of(dataset, path), Profile.read_from(dataset)
    except guard.FAILURES as error:
        raise geotiff.not_holdable(path, guard.clause(error)) from error
    geotiff.check_kept(path, (asked, profile), got)


def _create(path: Path, geobox: GeoBox, profile: Profile, compress: str) -> Any:
    """A new GeoTIFF of this grid and profile, open for writing."""
    with guard.quiet():
        dataset = rasterio.open(path, "w", **geotiff.creation(geobox, profile, compress))
    profile.write_to(dataset)
    return dataset


def _convert(source: Path, target: Path, options: Mapping[str, Any]) -> None:
    """Write ``source`` as a COG; give up soon after an exception such as Ctrl-C arrives.

    GDAL works in a thread of its own, so that this one can be interrupted. It cannot be told to
    stop, but it fails once the file that it reads is empty.
    """

    def convert() -> None:
        with _File(Entry(source)) as file, guard.guarded():
            rasterio.shutil.copy(file.dataset, target, driver="COG", **options)

    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(convert)
        try:
            work.result()
        except BaseException:
            with suppress(OSError):
                os.truncate(source, 0)
            raise
