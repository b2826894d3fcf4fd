"""What helps a model beside the scene, such as radar: on any grid, read on the scene's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike

from geodecloud.errors import BandError, OptionError
from geodecloud.geo.backscatter import Quantity, out_of, quantity_of
from geodecloud.geo.radiometry import SENTINEL1
from geodecloud.geo.raster import SceneSource, opened
from geodecloud.geo.scene import Scene
from geodecloud.geo.warped import WarpedScene
from geodecloud.translator import Translator, wants


@contextmanager
def guides_for(
    translator: Translator,
    scene: Scene,
    sar: SceneSource | None,
    on_note: Callable[[str], None],
    *,
    stored: Quantity | None = None,
) -> Iterator[Mapping[str, Scene]]:
    """Give what a translator looks at beside a scene, by name.

    Args:
        translator: a model that does not look at radar gets none, and a note says so.
        scene: what is translated.
        sar: radar of about the same date; see ``open_guide``.
        on_note: told what the user should know.
        stored: see ``open_guide``.

    Raises:
        OptionError: the model looks at radar, and there is none.
        InputError: the radar cannot be opened, or shows another place.
    """
    if sar is None:
        if wants(translator, "sar"):
            raise OptionError(
                f"{translator.name} looks at radar, and there is none",
                "it needs an image of about the same date",
                "pass one with --sar (sar=), or choose another model",
            )
        yield {}
        return
    with open_guide("sar", sar, scene, stored=stored) as radar:
        if not wants(translator, "sar"):
            on_note(f"{translator.name} does not look at radar: --sar changes nothing")
            yield {}
            return
        if radar.overlap < 1:
            on_note(f"the radar covers {radar.overlap:.0%} of the scene")
        yield {"sar": radar}


@contextmanager
def open_guide(
    name: str, source: SceneSource, scene: Scene, *, stored: Quantity | None = None
) -> Iterator[WarpedScene]:
    """Give a further input of a model, on the grid of the scene that it helps with.

    Args:
        name: what it is; "sar" has bands VV, VH in decibels, in this order, or one of them. An
            8-bit picture of radar is taken as it is.
        source: a file, a folder, a list of files, or an open scene; on any grid.
        scene: whose grid it is read on, by windows.
        stored: what an open scene of radar stores, where that is known; None looks at its pixels.

    Raises:
        InputError: it cannot be opened.
        BandError: it is no radar, and is to be.
        GridError: it does not lie on the scene.
    """
    with opened(source) as guide:
        if name == "sar" and guide.sensor.unit != "display":
            is_file = guide is not source
            guide = _polarisations(guide, source)
            if not is_file:  # a file was asked when it was opened
                guide = out_of(guide, stored or quantity_of(guide, ""))
        yield WarpedScene(guide, scene.geobox)


def stored_of(sar: SceneSource | None) -> Quantity | None:
    """Return what an open scene of radar stores, after a look at some pixels; None for others."""
    if sar is None or isinstance(sar, str | PathLike | Sequence) or sar.sensor.unit == "display":
        return None
    return quantity_of(_polarisations(sar, sar), "")


def _polarisations(guide: Scene, source: object) -> Scene:
    bands = [band for band in SENTINEL1 if band in guide.sensor.band_names]
    if not bands:
        raise BandError(
            f"{source} has bands {', '.join(guide.sensor.band_names)}",
            f"radar has {', '.join(SENTINEL1)}",
            "describe its bands as VV and VH, or name other files",
        )
    return guide.select(bands)
