"""Clouding: clouds, done to a scene in strips; find_classes: the mask of a scene in memory."""

from __future__ import annotations

from typing import Literal

import numpy as np

from geodecloud.clouding import CloudsOptions, Ground, classes_of_truth, sky_of, windows_of
from geodecloud.geo.masks import Classes
from geodecloud.geo.plausible import check_radiometry
from geodecloud.geo.scene import Array, ArraySink, Scene, shape_of
from geodecloud.geo.tiling import Window
from geodecloud.masking import MaskOptions, write_mask
from geodecloud.sky.ground import SceneGrid
from geodecloud.strips import Done, Note, Outline, Strip, StripSink, joined


class Clouding:
    """What ``clouds`` does.

    Args:
        scene: what is looked at; no pixel is read.
        options: which sky.

    Raises:
        BandError: a band has no wavelength.
        OptionError: an option makes no sense.
    """

    about: Literal["provenance", "truth"] = "truth"
    model: str | None = None
    has_spread = False

    def __init__(self, scene: Scene, options: CloudsOptions) -> None:
        """Hang the sky."""
        self._ground, self.kept = Ground.of(scene), Window.whole(shape_of(scene.geobox))
        self.bands = scene.sensor.band_names
        self.sky = sky_of(scene, options)
        self._ground = self._ground._replace(scene=Outline.of(scene))

    def target(self, scene: Scene) -> Scene:
        """Return the scene."""
        return scene

    def strips(self, least_px: int) -> list[Strip]:
        """Return the strips: whole rows of windows, read as far as a cloud blurs the ground."""
        whole, margin_px = self.kept, self._ground.margin_px
        rows = [
            Window(window.row, 0, window.height, whole.width)
            for window in windows_of(whole)
            if window.col == 0
        ]
        return joined([Strip(row, row.padded(margin_px) & whole) for row in rows], least_px)

    def prepare(self, scene: Scene, note: Note, mask: Array | None = None) -> None:
        """See that the pixels are what they are said to be.

        Raises:
            RadiometryError: the values cannot be reflectance.
        """
        for text in (*check_radiometry(scene), *self._ground.notes):
            note(text)

    def do(self, scene: Scene, strip: Strip, prepared: None) -> Done:
        """Return a strip under the sky, and what each pixel is under."""
        ground = self._ground._replace(scene=scene)
        grid = SceneGrid.of(scene.geobox, self.sky.crs)
        made = StripSink.of(strip.keep, scene)
        truths = StripSink(strip.keep)
        for window in windows_of(strip.keep):
            dn, valid, truth = ground.under(window, self.sky, grid)
            made.write(window, dn, valid)
            is_ground = np.any(valid[ground.channels], axis=0)
            truths.write(window, classes_of_truth(truth, is_ground)[None], is_ground[None])
        return Done(made.dn, truths.dn[0])


def find_classes(scene: Scene, options: MaskOptions) -> Classes:
    """Return the classes of a scene's pixels, (H, W), read by windows.

    Raises:
        As ``masking.mask``.
    """
    with ArraySink(1, shape_of(scene.geobox), np.uint8) as sink:
        write_mask(scene, sink, options)
    return np.asarray(sink.dn[0], np.uint8)
