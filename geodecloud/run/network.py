"""NetworkDetector: a trained network that tells clouds, out of a model package."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import lcm, prod, sqrt
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from geodecloud.errors import GridError, ModelError
from geodecloud.geo.masks import (
    CLEAR,
    CLOUD,
    NODATA,
    SHADOW,
    THIN,
    Classes,
    Flags,
    pixel_size_m,
)
from geodecloud.geo.scene import Scene
from geodecloud.progress import Listener, silent
from geodecloud.run.blocks import in_blocks
from geodecloud.run.onnx import OnnxTranslator
from geodecloud.run.package import (
    ARCHIVE_SUFFIX,
    CARD,
    SHIPPED,
    ModelCard,
    known_packages,
    open_package,
    read_card,
)
from geodecloud.run.samples import display_gain, samples_of
from geodecloud.translator import Request

Floats = npt.NDArray[np.float32]

TASK = "cloud-mask"
"""What the card of a model that finds clouds has as its task."""

OUTPUTS = MappingProxyType(
    {"clear": CLEAR, "thick": CLOUD, "cloud": CLOUD, "thin": THIN, "shadow": SHADOW}
)
"""What such a model calls its output bands, and the class that each is."""

COLOURS = MappingProxyType({"B02": "blue", "B03": "green", "B04": "red"})
"""What the bands of a Sentinel-2 scene are called in a picture of it."""

BLOCK_PX = 1024
"""Most of a side that a network sees at once, without its surroundings."""
COARSEST, FINEST = 3.5, 0.5
"""Pixels of a scene may be so many times as large as those that a model was made for."""


@dataclass(frozen=True)
class NetworkDetector:
    """Finds what a network was trained to find; the highest of its scores decides.

    A package for it is one of any model, whose card says: task "cloud-mask", ``bands_out`` the
    names of ``OUTPUTS`` that its channels score, ``stride_px`` and ``halo_px`` as for every
    network. Such a package is data alone: shipped in ``weights/`` it serves "auto" at once.

    Attributes:
        place: the package: a folder or a .dlpk.
        name: how it is named in options and reports.
        bands: names of the bands it wants, in its order.
        codes: the class of each output channel.
        halo_px: how far the network looks, in its own pixels.
        cell_px: side of its cells.
        resolution_m: pixel size it was made for; None takes any.
        step_px: so many of its own pixels a side are one of the scene's.
        level: product level of the scene, where it is known.
        gain: reflectance of one unit of the scene's values.
    """

    place: Path
    name: str
    bands: tuple[str, ...]
    codes: tuple[int, ...]
    halo_px: int
    cell_px: int
    resolution_m: float | None = None
    step_px: int = 1
    level: str | None = None
    gain: float = 1.0

    @property
    def margin_px(self) -> int:
        """How far it looks around a cell."""
        smooth_px = self.step_px > 1  # what is enlarged hangs on its neighbours
        return -(-self.halo_px // self.step_px) + smooth_px

    @property
    def stride_px(self) -> int:
        """Side of a cell."""
        return lcm(self.cell_px, self.step_px) // self.step_px

    @classmethod
    def open(cls, name_or_path: str | Path) -> Self:
        """Return the detector in a package.

        Raises:
            ModelError: there is none, it is damaged, it does something else, or it tells a class
                that is not among ``OUTPUTS``.
        """
        package = open_package(name_or_path)
        card, way = package.card, package.direction()
        if card.task != TASK:
            raise ModelError(
                f"{card.name} is a model for {card.task}",
                f"what finds clouds is a model for {TASK}",
                "see `geodecloud models`, or choose a detector",
            )
        if unknown := [name for name in way.bands_out if name not in OUTPUTS]:
            raise ModelError(
                f"{card.name} tells {', '.join(unknown)}",
                f"a {TASK} model tells some of {', '.join(OUTPUTS)}",
                "save the model again with outputs of these names",
            )
        return cls(
            place=package.folder,
            name=card.name,
            bands=way.bands_in,
            codes=tuple(OUTPUTS[name] for name in way.bands_out),
            halo_px=way.halo_px,
            cell_px=way.stride_px,
            resolution_m=card.resolution_m,
        )

    def prepare(self, scene: Scene, on_progress: Listener = silent) -> Self:
        """Return the detector told the scene's bands, product level and unit.

        Red, green and blue stand for B04, B03 and B02 where the network wants no more than these.
        Larger pixels than it was made for are shown enlarged.

        Raises:
            BandError: the scene lacks a band of the network.
            GridError: its pixels are not of the size that the network was made for.
        """
        bands = bands_in(scene, self.bands)
        scene.sensor.index(bands)
        if not suits(scene, self.resolution_m):
            raise GridError(
                f"the scene has pixels of {_side_m(scene):.3g} m",
                f"{self.name} was made for {self.resolution_m} m, and takes {FINEST:g} to "
                f"{COARSEST:g} times of that",
                "resample the scene, or choose another detector",
            )
        gain = 1.0
        if scene.sensor.unit == "display":
            gain = display_gain(samples_of(scene.select(tuple(COLOURS.values())), on_progress))
        step_px = 1
        if scene.geobox.crs is not None and self.resolution_m is not None:
            step_px = max(1, round(_side_m(scene) / self.resolution_m))
        return replace(self, bands=bands, level=scene.sensor.level, gain=gain, step_px=step_px)

    def classes(self, reflectance: Floats, valid: Flags, evidence: Floats | None = None) -> Classes:
        """Return (H, W) codes of ``CLASSES`` for (C, H, W) reflectance and (H, W) validity.

        ``evidence`` (K, H, W) is added to the scores of the K classes, in the order of ``codes``.
        """
        stride_px = self.stride_px
        n_blocks = -(-max(valid.shape) * self.step_px // BLOCK_PX)
        size_px = -(-max(valid.shape) // (n_blocks * stride_px)) * stride_px
        context_px = -(-self.margin_px // stride_px) * stride_px
        seen = reflectance if evidence is None else np.concatenate([reflectance, evidence])
        found = in_blocks(seen, size_px, context_px, self._classified)
        return np.where(valid, found, NODATA).astype(np.uint8)

    def _classified(self, block: Floats) -> Classes:
        step, n_bands = self.step_px, len(self.bands)
        seen = enlarged(block[:n_bands] * np.float32(self.gain), step)
        request = Request(seen[None], np.ones((1, *seen.shape), bool), level=self.level)
        scores = self._network(request).pixels[0]
        n_scores, height, width = scores.shape
        squares = scores.reshape(n_scores, height // step, step, width // step, step)
        scores = squares.mean(axis=(2, 4))
        if len(block) > n_bands:
            scores = scores + block[n_bands:]
        return np.asarray(np.array(self.codes, np.uint8)[scores.argmax(axis=0)])

    @cached_property
    def _network(self) -> OnnxTranslator:
        return OnnxTranslator(open_package(self.place))

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: the network is opened again where it arrives."""
        return {name: value for name, value in self.__dict__.items() if name != "_network"}


def enlarged(values: Floats, step: int) -> Floats:
    """Return (C, step H, step W) of values (C, H, W), linear between the middles of pixels.

    Example:
        >>> enlarged(np.array([[[0.0, 1.0]]], np.float32), 2)[0, 0].tolist()
        [0.0, 0.25, 0.75, 1.0]
    """
    if step == 1:
        return values
    for axis in (1, 2):
        last = values.shape[axis] - 1
        at = np.clip((np.arange((last + 1) * step) + 0.5) / step - 0.5, 0, last)
        low = at.astype(np.intp)
        shape = [1, 1, 1]
        shape[axis] = -1
        share = (at - low).astype(np.float32).reshape(shape)
        ends = (values.take(np.minimum(low + more, last), axis) for more in (0, 1))
        first, second = ends
        values = first * (1 - share) + second * share
    return values


def bands_in(scene: Scene, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return what a scene calls the bands that a network wants; as they are where it has others."""
    colours = tuple(COLOURS.get(name, name) for name in wanted)
    return colours if set(colours) <= set(scene.sensor.band_names) else wanted


def is_model(name_or_path: str) -> bool:
    """Say whether this is the name or the path of a model package."""
    path = Path(name_or_path)
    try:
        is_package = (path / CARD).is_file() or (
            path.is_file() and (path.name == CARD or path.suffix.lower() == ARCHIVE_SUFFIX)
        )
    except OSError:  # longer than a name can be
        return False
    return is_package or name_or_path in known_packages()


def shipped_networks(scene: Scene) -> list[NetworkDetector]:
    """Return the cloud-mask models that come with geodecloud and suit a scene's pixel size."""
    cards = [(path.parent, read_card(path)) for path in sorted(SHIPPED.glob(f"*/{CARD}"))]
    return [NetworkDetector.open(folder) for folder, card in cards if _serves(card, scene)]


def _serves(card: ModelCard, scene: Scene) -> bool:
    return card.task == TASK and suits(scene, card.resolution_m)


def suits(scene: Scene, resolution_m: float | None) -> bool:
    """Say whether a network made for pixels of this size sees enough on a scene's pixels."""
    if scene.geobox.crs is None or resolution_m is None:
        return True
    return FINEST <= _side_m(scene) / resolution_m <= COARSEST


def _side_m(scene: Scene) -> float:
    return sqrt(prod(pixel_size_m(scene.geobox)))
