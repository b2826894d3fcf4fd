"""predict: what a model makes of a file, of an array, or of an array with coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geodecloud.errors import OptionError
from geodecloud.learn.arrays import translate_array
from geodecloud.translator import Floats, Translator


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a prediction is asked beside its source; see ``Model.predict``."""

    mask: Any = None
    fill: Any = None
    level: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    tile_size: int = 512
    batch_size: int | None = None
    overwrite: bool = False


def predict(translator: Translator, source: Any, output: str | Path | None, wishes: Wishes) -> Any:
    """Return what a model makes of the path of a raster, of an array, or of a DataArray.

    Raises:
        OptionError: an array was given with an output.
    """
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
