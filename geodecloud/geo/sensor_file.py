"""read_sensor: a sensor that a user describes, out of a TOML file."""

from __future__ import annotations

import tomllib
from os import PathLike
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geodecloud.errors import GeodecloudError, InputError
from geodecloud.geo.radiometry import known_name
from geodecloud.geo.sensors import Band, Sensor

MAX_BYTES = 1_000_000

Name = Annotated[str, Field(min_length=1, max_length=64)]
Length = Annotated[float, Field(gt=0, le=1e8)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _BandText(_Part):
    name: Name
    wavelength_nm: Length | None = None
    resolution_m: Length | None = None
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | Literal["nan"] | None = None

    def band(self) -> Band:
        return Band(
            known_name(self.name) or self.name.strip(),
            self.wavelength_nm,
            self.resolution_m,
            self.scale,
            self.offset,
            None if self.nodata is None else float(self.nodata),
        )


class _SensorText(_Part):
    name: Name
    unit: Literal["reflectance", "dB", "power", "amplitude", "display", "class"] = "reflectance"
    level: Literal["L1C", "L2A"] | None = None
    band: Annotated[tuple[_BandText, ...], Field(min_length=1, max_length=512)]


def read_sensor(path: str | PathLike[str]) -> Sensor:
    """Return the sensor that a TOML file describes; ``value = dn * scale + offset``.

    Each ``[[band]]`` stands for a channel of the file, in order: name, scale, offset, nodata,
    wavelength_nm, resolution_m. Above them stand name, unit and level.

    Raises:
        InputError: there is no such file, or it does not describe a sensor.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        said = _SensorText.model_validate(tomllib.loads(content.decode()))
        return Sensor(said.name, tuple(b.band() for b in said.band), said.unit, said.level)
    except (OSError, ValueError, RecursionError, GeodecloudError) as error:
        raise InputError(
            f"{path} does not describe a sensor ({_reason(error)})",
            'a TOML file has name = "...", and a [[band]] with name, scale, offset and nodata for '
            "each channel",
            "correct it as docs/formats.md shows",
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    if isinstance(error, OSError):
        return error.strerror or "unreadable"
    return error.found if isinstance(error, GeodecloudError) else str(error)
