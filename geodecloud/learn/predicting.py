"""predict of a model: what it makes of a file, of an array, or of an array with coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from geodecloud.errors import OptionError
from geodecloud.learn.arrays import translate_array
from geodecloud.learn.directions import find_direction
from geodecloud.translator import Floats, Translator

if TYPE_CHECKING:
    from geodecloud.learn.model import Model


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a prediction is asked beside its source; see ``predict``."""

    mask: Any = None
    fill: Any = None
    level: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    tile_size: int = 512
    batch_size: int | None = None
    overwrite: bool = False


def predict(
    model: Model,
    source: Any,
    output: str | Path | None = None,
    *,
    convert_to: Literal["A", "B"] | None = None,
    direction: str | None = None,
    mask: Any = None,
    fill: npt.NDArray[np.floating[Any]] | None = None,
    level: str | None = None,
    extra: Mapping[str, Any] = MappingProxyType({}),
    padding: int | None = None,
    batch_size: int | None = None,
    tile_size: int = 512,
    device: str = "auto",
    overwrite: bool = False,
) -> Any:
    """Return what the model makes of a raster, of an array, or of a DataArray.

    Args:
        model: what answers.
        source: path of a raster; (C, H, W) or (B, C, H, W) in the source's unit, of any sides;
            or a DataArray (band, y, x) of such.
        output: GeoTIFF to write, on the raster's grid and in the target's encoding; without
            it a raster of up to 1024 px a side is shown.
        convert_to: "B" for the direction "AtoB", "A" for "BtoA".
        direction: by name; None takes the first.
        mask: where a cloud-removing model answers; all else stays as it is. Of a raster as
            ``geodecloud.mask`` takes it, found where it is None; of an array (H, W) of bool.
        fill: under an array's mask; None draws it from the clear pixels.
        level: product level, "L1C" or "L2A", where the raster does not say.
        extra: further inputs by name ("sar"): rasters on the same grid, or arrays.
        padding: not needed: around a tile is read as far as the model looks.
        batch_size: tiles, or arrays, at once.
        tile_size: side of a raster's tiles.
        device: "cpu", "cuda" or "auto".
        overwrite: replace an output that exists.

    Returns:
        The path of the output, a figure, an array of float32, or a DataArray.

    Raises:
        OptionError: an array was given with an output.
    """
    del padding  # of the face that this mirrors
    translator = model.translator(find_direction(model.directions, direction, convert_to), device)
    wishes = Wishes(mask, fill, level, extra, tile_size, batch_size, overwrite)
    if isinstance(source, str | Path):
        from geodecloud.learn.scenes import predict_file, show_file  # brings rasterio

        if output is None:
            return show_file(translator, source, wishes)
        return predict_file(translator, source, output, wishes)
    if output is not None:
        raise OptionError(
            f"output {output} for an array",
            "a file is written of what was read from one",
            "leave output out; the array is returned",
        )
    if hasattr(source, "dims"):
        return predict_labelled(translator, source, wishes)
    return translate(translator, source, wishes)


def predict_labelled(translator: Translator, labelled: Any, wishes: Wishes) -> Any:
    """Return what a model makes of a DataArray (band, y, x) as another, on the same coordinates.

    Bands take the model's names, other coordinates and the attributes stay; values are in the
    source's unit, as of any array.

    Raises:
        DataError: it has another shape, or holds NaN.
    """
    import xarray

    band = labelled.dims[-3]
    pixels = translate(translator, labelled.values, wishes)
    kept = {name: value for name, value in labelled.coords.items() if band not in value.dims}
    coords = {**kept, band: list(translator.bands_out)}
    return xarray.DataArray(
        pixels, dims=labelled.dims, coords=coords, attrs=labelled.attrs, name=labelled.name
    )


def translate(translator: Translator, pixels: Any, wishes: Wishes) -> Floats:
    """Return what a model makes of an array; see ``translate_array``."""
    return translate_array(
        translator,
        pixels,
        mask=wishes.mask,
        fill=wishes.fill,
        level=wishes.level,
        extra=wishes.extra,
        batch_size=wishes.batch_size,
    )
