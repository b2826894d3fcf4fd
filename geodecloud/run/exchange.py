"""Models handed on: the .emd beside a package, and the .dlpk that holds it whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from geodecloud.run.card import describe
from geodecloud.run.files import archive_bytes
from geodecloud.run.package import CARD, EMD_SUFFIX, WEIGHTS, Direction, ModelCard, Package

README = "README.md"
USUAL_SIZE_PX = 64
SEEN_LOW, SEEN_HIGH = -1.0, 1.0
"""What a network sees of a band's lowest and highest value."""


def package_files(card: ModelCard, contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return all files of a package by name: those of ``contents``, and what the card says."""
    return {
        **contents,
        CARD: (card.model_dump_json(indent=1) + "\n").encode(),
        f"{card.name}{EMD_SUFFIX}": (json.dumps(definition(card), indent=1) + "\n").encode(),
        README: describe(card).encode(),
    }


def dlpk_bytes(package: Package) -> bytes:
    """Return a package as one ZIP file: its folder, the same bytes for the same model.

    Raises:
        ModelError: a file of the package is damaged.
    """
    contents = {name: package.read(name) for name in package.card.files}
    return archive_bytes(package_files(package.card, contents))


def definition(card: ModelCard) -> dict[str, Any]:
    """Return a model's definition with the keys that ArcGIS uses, in JSON's types.

    ``ModelParameters`` holds all that rebuilds the networks, as ``model.json`` does.
    """
    way, back = card.directions[0], card.directions[-1]
    size_px = _of(card.training, "data", "chip_size") or USUAL_SIZE_PX
    cell = None if card.resolution_m is None else {"x": card.resolution_m, "y": card.resolution_m}
    return {
        "Framework": "PyTorch",
        "ModelConfiguration": "geodecloud",
        "ModelType": card.system,
        "ModelName": card.system,
        "ModelFile": WEIGHTS,
        "ModelFormat": "NCHW",
        "Description": card.summary,
        "ImageHeight": size_px,
        "ImageWidth": size_px,
        "ExtractBands": list(range(len(way.bands_in))),
        "ImageSpaceUsed": "MAP_SPACE",
        "MinCellSize": cell,
        "MaxCellSize": cell,
        "SupportsVariableTileSize": True,
        "n_intput_channel": len(way.bands_in),
        "n_channel": len(way.bands_out),
        "n_channel_rev": len(back.bands_out),
        "NormalizationStats": _statistics(card, "source", way, ("low", "high")),
        "NormalizationStats_b": _statistics(card, "target", way, ("low_out", "high_out")),
        "IsMultispectral": len(way.bands_in) > 3,
        "Bands": list(way.bands_in),
        "ImageryType": way.sensor_in,
        "ModelParameters": {
            "task": card.task,
            "directions": [way.model_dump(mode="json") for way in card.directions],
        },
        "PSNR": _of(card.metrics, "masked", "psnr") or _of(card.metrics, "psnr"),
        "SSIM": _of(card.metrics, "masked", "ssim") or _of(card.metrics, "ssim"),
    }


def _statistics(
    card: ModelCard, side: str, way: Direction, names: tuple[str, str]
) -> dict[str, Sequence[float] | None]:
    """Limits of each band, and where the training kept them its mean and deviation."""
    limits = {str(name): values for name, values in way.network.limits.items()}
    low, high = limits.get(names[0]) or limits["low"], limits.get(names[1]) or limits["high"]
    known = _of(card.training, "statistics", side) or {}
    mean, std = known.get("mean"), known.get("std")

    def seen(values: Sequence[float] | None, offset: float = 1.0) -> list[float] | None:
        if values is None:
            return None
        return [
            round(2 * (value - a * offset) / (b - a) - offset, 6)
            for value, a, b in zip(values, low, high, strict=True)
        ]

    return {
        "band_min_values": list(low),
        "band_max_values": list(high),
        "band_mean_values": mean,
        "band_std_values": std,
        "scaled_min_values": [SEEN_LOW] * len(low),
        "scaled_max_values": [SEEN_HIGH] * len(low),
        "scaled_mean_values": seen(mean),
        "scaled_std_values": seen(std, 0.0),
    }


def _of(tables: Mapping[str, Any], *keys: str) -> Any:
    """What lies under these keys; None where one of them is missing."""
    found: Any = tables
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
