"""Zurich under real cumulus, cleared: shown, for nobody knows what lies beneath."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geodecloud.benchmark.archive import BANDS, Archive, part_of
from geodecloud.benchmark.case import Case
from geodecloud.benchmark.contestants import baselines
from geodecloud.benchmark.models import TrainedModel
from geodecloud.benchmark.sheet import CLOUDY, Sheet
from geodecloud.geo.masks import ClassMask
from geodecloud.geo.raster import open_scene
from geodecloud.geo.tiling import Window
from geodecloud.masking import MaskOptions, masked
from geodecloud.picture import bands_to_show
from geodecloud.progress import Listener, silent

SCENE = Path("test/scenes_cloudy/20190530_T32TMT_MSIL2A_S2A_pixel_division_10m.tiff")
PART = Window(300, 300, 384, 384)
NAME = "zurich"


def zurich_sheet(
    archive: Archive, models: list[TrainedModel], on_progress: Listener = silent
) -> Sheet | None:
    """Return Zurich as the fill and the models draw it; None where the scene is not there."""
    if not (archive.root / SCENE).exists():
        return None
    with open_scene(archive.root / SCENE, scale=1e-4, offset=0, level="L2A") as scene:
        part = part_of(scene, PART)
        with masked(part, MaskOptions(), on_progress) as (classes, _):
            mask = ClassMask(classes, part).read(Window(0, 0, *PART.shape))
    seen = part.select(BANDS)
    pixels = seen.sensor.to_reflectance(seen.read(Window(0, 0, *PART.shape))[0])
    nothing = np.zeros(mask.shape, np.uint8)
    case = Case(NAME, NAME, "real cumulus", seen, pixels, nothing, mask, ~mask)
    drawing = [
        each
        for each in baselines(with_references=False, is_radiometric=True)
        if each.name == "fill"
    ]
    drawing += [row for model in models for row in model.contestants()]
    index = seen.sensor.index(bands_to_show(BANDS))
    pictures = {CLOUDY: pixels, **{each.name: each.answer(case)[0] for each in drawing}}
    sheet = Sheet([])
    sheet.put(NAME, {name: values[index] for name, values in pictures.items()}, mask, case.kind)
    return sheet
