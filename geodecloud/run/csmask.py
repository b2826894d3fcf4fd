"""CsmaskDetector: the networks of ukis-csmask, out of the wheel that brings them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from math import prod, sqrt
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from geodecloud.errors import MissingExtraError
from geodecloud.geo.masks import CLEAR, CLOUD, NODATA, SHADOW, Classes, Flags, pixel_size_m
from geodecloud.geo.scene import Scene
from geodecloud.progress import Listener, silent
from geodecloud.run.blocks import in_blocks
from geodecloud.run.onnx import n_cores

Floats = npt.NDArray[np.float32]

SIDE_PX, CONTEXT_PX = 256, 32
"""Its networks take squares of 256 px; near their edges they see too little to be believed."""
TUNED_PIXEL_M = 30.0
"""It was trained on pixels of about 30 m (its README)."""
CODES = np.array([CLEAR, CLOUD, SHADOW], np.uint8)
"""Its classes: background, clouds, cloud shadows."""

FOUR_BANDS = ("B02", "B03", "B04", "B08")
SIX_BANDS = (*FOUR_BANDS, "B11", "B12")


@dataclass(frozen=True)
class CsmaskDetector:
    """Finds clouds and shadows with ukis-csmask (Wieland et al. 2019), made by DLR.

    Pixels are averaged to about 30 m before the network sees them. It calls no cloud thin.

    Attributes:
        bands: four, or six where the scene has short-wave infrared.
        level: which of its networks: for "L1C" or "L2A".
        step_px: so many pixels a side are averaged to one.
    """

    name: str = "ukis-csmask"
    bands: tuple[str, ...] = FOUR_BANDS
    level: str = "L1C"
    step_px: int = 1

    @property
    def margin_px(self) -> int:
        """How far it looks around a cell."""
        return CONTEXT_PX * self.step_px

    @property
    def stride_px(self) -> int:
        """Side of a cell: what one run of the network answers for."""
        return (SIDE_PX - 2 * CONTEXT_PX) * self.step_px

    def prepare(self, scene: Scene, on_progress: Listener = silent) -> Self:
        """Return the detector for the bands, the level and the pixels of a scene.

        Raises:
            BandError: the scene lacks one of the four bands.
            MissingExtraError: ukis-csmask is not installed.
        """
        scene.sensor.index(self.bands)
        _folder()
        side_m = sqrt(prod(pixel_size_m(scene.geobox)))
        return replace(
            self,
            bands=SIX_BANDS if set(SIX_BANDS) <= set(scene.sensor.band_names) else FOUR_BANDS,
            level=scene.sensor.level or self.level,
            step_px=max(1, round(TUNED_PIXEL_M / side_m)),
        )

    def classes(self, reflectance: Floats, valid: Flags) -> Classes:
        """Return (H, W) codes of ``CLASSES`` for (C, H, W) reflectance and (H, W) validity."""
        step = self.step_px
        seen = _averaged(reflectance, step)
        found = in_blocks(seen, SIDE_PX - 2 * CONTEXT_PX, CONTEXT_PX, self._classified)
        full = found.repeat(step, 0).repeat(step, 1)[: valid.shape[0], : valid.shape[1]]
        return np.where(valid, full, NODATA).astype(np.uint8)

    def _classified(self, block: Floats) -> Classes:
        session, mean, std = self._network
        (scores,) = session.run(None, {"input": ((block - mean) / std)[None]})
        return np.asarray(CODES[scores[0].argmax(axis=0)])

    @cached_property
    def _network(self) -> tuple[Any, Floats, Floats]:
        import onnxruntime as ort

        path = _folder() / f"model_{len(self.bands)}b_{self.level.lower()}"
        card = json.loads(path.with_suffix(".json").read_text())
        mean, std = card["data"]["dataset_statistics"]["img"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = n_cores()
        options.log_severity_level = 3
        session = ort.InferenceSession(
            path.with_suffix(".onnx"), options, providers=["CPUExecutionProvider"]
        )
        return session, *(np.array(part, np.float32)[:, None, None] for part in (mean, std))

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: the network is opened again where it arrives."""
        return {name: value for name, value in self.__dict__.items() if name != "_network"}


def _folder() -> Path:
    spec = find_spec("ukis_csmask")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("ukis-csmask", "masks", "the detector ukis-csmask")
    return Path(spec.submodule_search_locations[0])


def _averaged(values: Floats, step: int) -> Floats:
    """Means over squares of ``step`` pixels; the edge goes on where one is cut."""
    if step == 1:
        return values
    height, width = values.shape[1:]
    values = np.pad(values, [(0, 0), (0, -height % step), (0, -width % step)], mode="edge")
    n_bands, height, width = values.shape
    squares = values.reshape(n_bands, height // step, step, width // step, step)
    return np.asarray(squares.mean(axis=(2, 4)), np.float32)
