"""Before and after: one self-contained page with a swipe bar, and figures for documents."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from odc.geo.geobox import GeoBox

from geodecloud.errors import BandError, GridError
from geodecloud.geo.masks import CLASSES, pixel_size_m
from geodecloud.geo.publish import publish, refuse_existing
from geodecloud.geo.raster import SceneSource, opened
from geodecloud.geo.scene import Scene, shape_of
from geodecloud.paste import FEATHERED, GENERATED, OTHER_DATE, PROVENANCE, PROVENANCE_COLOURS
from geodecloud.picture import (
    PERCENTILES,
    Bytes,
    Flags,
    Floats,
    bands_to_show,
    block_centres,
    block_means,
    encode_png,
    limits,
    step_for,
    stretched,
    strips,
)

Colour = tuple[int, int, int]

MARKED = (GENERATED, FEATHERED, OTHER_DATE)

MAX_SIDE_PX = 2000
SAME_PLACE_PX = 0.1
FILL_ALPHA = 18  # of 255: the ground shows through, the rim around it is opaque


def compare(
    before: SceneSource,
    after: SceneSource,
    out_html: str | Path,
    *,
    mask: SceneSource | None = None,
    provenance: SceneSource | None = None,
    metrics: Mapping[str, float | int | str] = MappingProxyType({}),
    overwrite: bool = False,
) -> Path:
    """Write one HTML file that shows both scenes under a swipe bar; return its path.

    It loads nothing from elsewhere, and the same input gives the same bytes. Both sides have one
    stretch, taken from the valid pixels of ``after``. Pictures are at most ``MAX_SIDE_PX`` a
    side; their pixels are means of those they stand for, read strip by strip.

    Args:
        before: scene or path.
        after: scene or path, on the same grid.
        out_html: file to write.
        mask: raster whose pixels, where neither 0 nor nodata, are marked; its classes are named
            where they are those of ``masks.CLASSES``.
        provenance: raster of ``PROVENANCE`` classes; marked instead of ``mask``.
        metrics: figures for the table, by name.
        overwrite: replace a file that exists.

    Raises:
        GridError: the rasters do not share a grid.
        BandError: the scenes have no band in common.
        OutputError: the file exists, or cannot be written.
    """
    path = Path(out_html)
    refuse_existing(path, overwrite)
    with opened(before) as first, opened(after) as second:
        pair = _Pair.of(first, second, MAX_SIDE_PX)
        view = _look(pair)
    marks = None
    if provenance is not None:
        marks = _provenance_marks(pair, provenance)
    elif mask is not None:
        marks = _mask_marks(pair, mask)
    script = _template("compare.js")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(_template("compare.html.j2")).render(
        before={"name": pair.names[0], "png": _data_uri(encode_png(view.before))},
        after={"name": pair.names[1], "png": _data_uri(encode_png(view.after))},
        overlay=marks and marks.for_page(),
        facts=_facts(pair.geobox),
        metrics=[(name, _shown(value)) for name, value in {**view.figures, **metrics}.items()],
        display=_display(pair, view),
        view=_placement(pair, view),
        style=Markup(_template("compare.css")),
        script=Markup(script),
        script_hash=_source_hash(script),
    )
    publish(path, page.encode(), overwrite=overwrite)
    return path


def figure_png(
    before: SceneSource,
    after: SceneSource,
    out_png: str | Path,
    *,
    provenance: SceneSource | None = None,
    max_side_px: int = 800,
    overwrite: bool = False,
) -> Path:
    """Write both scenes side by side as one PNG, each at most ``max_side_px``; return its path.

    With ``provenance`` a third picture shows ``after`` with what was generated outlined.

    Raises:
        GridError: the rasters do not share a grid.
        BandError: the scenes have no band in common.
        OutputError: the file exists, or cannot be written.
    """
    path = Path(out_png)
    refuse_existing(path, overwrite)
    with opened(before) as first, opened(after) as second:
        pair = _Pair.of(first, second, max_side_px)
        view = _look(pair)
    pictures = [view.before, view.after]
    if provenance is not None:
        pictures.append(_provenance_marks(pair, provenance).drawn_on(view.after))
    gap = np.full((len(view.after), max(2, max_side_px // 100), 3), 255, np.uint8)
    row = [part for picture in pictures for part in (gap, picture)][1:]
    publish(path, encode_png(np.concatenate(row, axis=1)), overwrite=overwrite)
    return path


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two scenes of one grid, cut to the bands that are shown; ``step`` pixels make one."""

    before: Scene
    after: Scene
    names: tuple[str, str]
    bands: tuple[str, ...]
    step: int

    @classmethod
    def of(cls, first: Scene, second: Scene, max_side_px: int) -> _Pair:
        names = _name(first, "before"), _name(second, "after")
        _check_grid(second, names[1], first, names[0])
        common = [name for name in second.sensor.band_names if name in first.sensor.band_names]
        if not common:
            raise BandError(
                f"{names[0]} has bands {', '.join(first.sensor.band_names)}; "
                f"{names[1]} has {', '.join(second.sensor.band_names)}",
                "a comparison needs a band that both have",
                "name them alike with --bands (open_scene(bands=))",
            )
        bands = bands_to_show(common)
        step = step_for(shape_of(first.geobox), max_side_px)
        return cls(first.select(bands), second.select(bands), names, bands, step)

    @property
    def geobox(self) -> GeoBox:
        return self.before.geobox


@dataclass(frozen=True, slots=True)
class _View:
    """Both pictures (h, w, 3), the stretch of each band, and what was counted on the way."""

    before: Bytes
    after: Bytes
    ends: tuple[tuple[float, float], ...]
    figures: Mapping[str, str]


def _look(pair: _Pair) -> _View:
    """Read both scenes once, strip by strip: pictures, and the count of equal pixels."""
    before: list[Floats] = []
    after: list[Floats] = []
    n_valid = n_same = 0
    for window in strips(shape_of(pair.geobox), pair.step):
        (old, old_valid), (new, new_valid) = pair.before.read(window), pair.after.read(window)
        before.append(block_means(pair.before.sensor.to_reflectance(old), old_valid, pair.step))
        after.append(block_means(pair.after.sensor.to_reflectance(new), new_valid, pair.step))
        is_valid = (old_valid & new_valid).all(0)
        n_valid += int(is_valid.sum())
        n_same += int(((old == new).all(0) & is_valid).sum())
    old_means, new_means = np.concatenate(before, axis=1), np.concatenate(after, axis=1)
    shown = new_means if np.isfinite(new_means).any() else old_means
    ends = tuple(limits(band) for band in shown)
    figures = {"Valid in both": _percent(n_valid / math.prod(shape_of(pair.geobox)))}
    if n_valid and _encoding(pair.before) == _encoding(pair.after):
        figures["Unchanged, bit for bit"] = _percent(n_same / n_valid)
    return _View(stretched(old_means, ends), stretched(new_means, ends), ends, figures)


@dataclass(frozen=True, slots=True)
class _Marks:
    """Classes (h, w) drawn over the pictures, with the colour, name and share of each."""

    title: str
    classes: Bytes
    colours: Mapping[int, Colour]
    legend: Sequence[tuple[int, str, float]]

    def for_page(self) -> dict[str, Any]:
        """What the template shows: a picture of fills and rims, and the legend."""
        palette = [(0, 0, 0, 0)] * 2 * (max(self.colours) + 1)
        for value, colour in self.colours.items():
            palette[2 * value : 2 * value + 2] = (*colour, FILL_ALPHA), (*colour, 255)
        classes = np.where(np.isin(self.classes, list(self.colours)), self.classes, 0)
        legend = [
            {
                "value": value,
                "name": name,
                "share": _percent(share),
                "colour": "#{:02x}{:02x}{:02x}".format(*self.colours[value]),
            }
            for value, name, share in self.legend
        ]
        png = encode_png((2 * classes + self._rim()).astype(np.uint8), palette)
        return {"title": self.title, "png": _data_uri(png), "legend": legend}

    def drawn_on(self, picture: Bytes) -> Bytes:
        """A picture (h, w, 3) with the rims of the classes on it."""
        drawn = picture.copy()
        for value, colour in self.colours.items():
            drawn[self._rim() & (self.classes == value)] = colour
        return drawn

    def _rim(self) -> Flags:
        """Marked pixels beside one of another class."""
        around, here = np.pad(self.classes, 1, mode="edge"), self.classes
        beside = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
        is_edge = np.logical_or.reduce([here != other for other in beside])
        return np.asarray(is_edge & np.isin(here, list(self.colours)))


def _provenance_marks(pair: _Pair, source: SceneSource) -> _Marks:
    classes, shares = _classes(pair, source, "provenance")
    names = {value: PROVENANCE[value].capitalize() for value in MARKED}
    colours = {value: PROVENANCE_COLOURS[value][:3] for value in MARKED}
    return _Marks("Provenance", classes, colours, _legend(names, shares))


def _mask_marks(pair: _Pair, source: SceneSource) -> _Marks:
    """Marks of a mask: its classes where it has several that are ours, else one for all."""
    classes, shares = _classes(pair, source, "mask")
    used = {int(value) for value in np.flatnonzero(shares)} - {0}
    ours = {code: kind for code, kind in CLASSES.items() if kind.colour[3]}
    if len(used) > 1 and used <= set(ours):
        colours = {code: kind.colour[:3] for code, kind in ours.items()}
        names = {code: kind.name.capitalize() for code, kind in ours.items()}
        return _Marks("Mask", classes, colours, _legend(names, shares))
    colours = {1: PROVENANCE_COLOURS[GENERATED][:3]}
    marked = (classes != 0).astype(np.uint8)
    return _Marks("Mask", marked, colours, [(1, "Masked", float(shares[1:].sum()))])


def _legend(
    names: Mapping[int, str], shares: npt.NDArray[np.float64]
) -> list[tuple[int, str, float]]:
    return [(value, name, float(shares[value])) for value, name in names.items() if shares[value]]


def _classes(pair: _Pair, source: SceneSource, role: str) -> tuple[Bytes, npt.NDArray[np.float64]]:
    """Classes (h, w), 0 where there is none, and the exact share (256,) of each in the raster."""
    counts = np.zeros(256, np.int64)
    rows = []
    with opened(source) as scene:
        _check_grid(scene, _name(scene, role), pair.before, pair.names[0])
        for window in strips(shape_of(pair.geobox), pair.step):
            dn, valid = scene.read(window)
            is_marked = valid[0] & (dn[0] != 0)
            # what does not fit in a byte is marked all the same
            codes = np.where(is_marked, np.clip(dn[0], 1, 255), 0).astype(np.uint8)
            counts += np.bincount(codes.ravel(), minlength=256)
            rows.append(block_centres(codes, pair.step))
    return np.concatenate(rows), counts / counts.sum()


def _name(scene: Scene, role: str) -> str:
    """Name of the scene's file, or of the folder of its files, or its role."""
    if (path := getattr(scene, "path", None)) is not None:
        return Path(path).name
    paths = getattr(scene, "paths", ())
    return Path(paths[0]).parent.name if paths else role


def _encoding(scene: Scene) -> list[tuple[str, float, float]]:
    return [(band.dtype, band.scale, band.offset) for band in scene.sensor.bands]


def _check_grid(scene: Scene, name: str, wanted: Scene, wanted_name: str) -> None:
    """Refuse a raster that does not lie on the other; one without georeference lies anywhere."""
    here, there = scene.geobox, wanted.geobox
    height, width = shape_of(there)
    if shape_of(here) == (height, width):
        if here.crs is None or there.crs is None:
            return
        moved = ~there.affine * here.affine
        corners = [(0, 0), (width, 0), (0, height), (width, height)]
        off_px = max(math.dist(moved * corner, corner) for corner in corners)
        if here.crs == there.crs and off_px < SAME_PLACE_PX:
            return
    raise GridError(
        f"{name} lies on {_grid(here)}",
        f"{wanted_name} lies on {_grid(there)}",
        "resample one to the grid of the other",
    )


def _grid(geobox: GeoBox) -> str:
    height, width = shape_of(geobox)
    corner = f"{geobox.affine.c:.10g}, {geobox.affine.f:.10g}"
    return f"{height}x{width} px of {geobox.crs}, corner {corner}"


def _facts(geobox: GeoBox) -> list[str]:
    """Where the scene lies, in a few words each."""
    height, width = shape_of(geobox)
    size = f"{width} × {height} px"
    if geobox.crs is None:
        return [size, "no georeference"]
    code = geobox.crs.to_epsg()
    known = [f"EPSG:{code}"] if code else []
    pixel_m = math.sqrt(math.prod(pixel_size_m(geobox)))
    return [size, f"{pixel_m:.3g} m pixels", *known, geobox.crs.proj.name]


def _display(pair: _Pair, view: _View) -> dict[str, Any]:
    """How the pictures were made."""
    height, width = view.after.shape[:2]
    thinned = "full size" if pair.step == 1 else f"1 for {pair.step} × {pair.step}"
    colours = ("Red", "Green", "Blue") if len(pair.bands) == 3 else ("Grey",)
    return {
        "rows": [
            ("Picture", f"{width} × {height} px, {thinned}"),
            *(
                (f"{colour} {band}", f"{low:.4g} – {high:.4g}")
                for colour, band, (low, high) in zip(colours, pair.bands, view.ends, strict=True)
            ),
        ],
        "unit": pair.after.sensor.unit,
        "percentiles": PERCENTILES,
    }


def _placement(pair: _Pair, view: _View) -> dict[str, Any]:
    """What the script needs to place the pictures, the scale bar and the pointer on the ground."""
    geobox = pair.geobox
    height, width = view.after.shape[:2]
    crs = geobox.crs
    return {
        "width": width,
        "height": height,
        "step": pair.step,
        "shape": shape_of(geobox),
        "affine": list(geobox.affine)[:6],
        "has_crs": crs is not None,
        "is_geographic": crs is not None and crs.geographic,
        "metres_per_px": None if crs is None else pixel_size_m(geobox)[1] * pair.step,
    }


def _shown(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _percent(share: float) -> str:
    """Two decimals, and never 100 % or 0 % where it is not."""
    if 0 < share < 0.0001:
        return "< 0.01 %"
    if 0.9999 < share < 1:
        return "> 99.99 %"
    return f"{share:.2%}".replace("%", " %")


def _template(name: str) -> str:
    return (files("geodecloud") / "templates" / name).read_text("utf-8")


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _source_hash(script: str) -> str:
    """The script as a content security policy names it: this one may run, and no other."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
