"""Other dates of a scene: opened, their clouds found, laid on its grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from geodecloud.errors import BandError, OptionError
from geodecloud.geo.masks import ClassMask
from geodecloud.geo.raster import SceneSource, opened
from geodecloud.geo.references import Reference
from geodecloud.geo.scene import Scene
from geodecloud.geo.warped import WarpedScene
from geodecloud.masking import MaskOptions, masked
from geodecloud.progress import Listener, silent


@contextmanager
def references_for(
    scene: Scene,
    sources: Sequence[SceneSource],
    *,
    on_note: Callable[[str], None] = lambda text: None,
    on_progress: Listener = silent,
) -> Iterator[list[Reference]]:
    """Give other dates of a scene, on its grid and with its bands, and where they saw cloud.

    Their clouds and shadows are found as those of the scene are without further word: by the
    scene classification where they bring one, else by a detector.

    Args:
        scene: with the bands that are wanted.
        sources: a file, a folder, a list of per-band files or an open scene each; on any grid.
        on_note: told what the user should know.
        on_progress: told how far the search for clouds is.

    Raises:
        InputError: one cannot be opened.
        BandError: one lacks a band of the scene.
        GridError: one shows another place.
        OptionError: one is a picture where the scene holds reflectance, or the reverse.
    """
    with laid_out(scene, sources) as dates, ExitStack() as stack:
        references = []
        for date in dates:
            classes, counts = stack.enter_context(masked(date.whole, MaskOptions(), on_progress))
            cloudy = WarpedScene(classes, scene.geobox, "nearest")
            references.append(Reference(date.laid, ClassMask(cloudy, date.laid)))
            on_note(
                f"reference {date.name} covers {date.laid.overlap:.0%} of the scene; "
                f"{counts.mask_share:.0%} of it is cloud or shadow"
            )
        yield references


class Date(NamedTuple):
    """Another date: all of it, and the bands of a scene on its grid."""

    name: object
    whole: Scene
    laid: WarpedScene


@contextmanager
def laid_out(scene: Scene, sources: Sequence[SceneSource]) -> Iterator[list[Date]]:
    """Give other dates of a scene, on its grid and with its bands; no pixel is read.

    Raises:
        As ``references_for``.
    """
    with ExitStack() as stack:
        dates = []
        for source in sources:
            other = stack.enter_context(opened(source))
            name = getattr(other, "path", "another date") if other is source else source
            if other.sensor.unit != scene.sensor.unit:
                raise OptionError(
                    f"reference {name} holds {other.sensor.unit}",
                    f"the scene holds {scene.sensor.unit}",
                    "choose another date of the same product",
                )
            _check_bands(name, other, scene)
            laid = WarpedScene(other.select(scene.sensor.band_names), scene.geobox)
            dates.append(Date(name, other, laid))
        yield dates


def _check_bands(name: object, other: Scene, scene: Scene) -> None:
    wanted, have = scene.sensor.band_names, other.sensor.band_names
    if missing := [band for band in wanted if band not in have]:
        raise BandError(
            f"reference {name} has bands {', '.join(have)}; {', '.join(missing)} not among them",
            f"it brings those that are to be filled: {', '.join(wanted)}",
            "choose a reference with these bands, described in its file",
        )
