"""DecloudOptions and DecloudResult: what is asked of decloud, and what it has done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from geodecloud.errors import OptionError
from geodecloud.geo.polygons import Areas
from geodecloud.geo.scene import Scene
from geodecloud.mask_grammar import Mask
from geodecloud.masking import MaskOptions
from geodecloud.models import DEFAULT_MODEL
from geodecloud.reading import ReadingOptions
from geodecloud.run.detectors import Detector
from geodecloud.translator import Translator


@dataclass(frozen=True)
class DecloudOptions(ReadingOptions):
    """How clouds are removed; the defaults suit a Sentinel-2 scene.

    Attributes:
        model: "fill", the name of a shipped model, the path of a model package, or a translator.
        mask, detector, dilate_m, specks_m2, holes_m2, shadows: what is to be replaced; see
            ``MaskOptions``.
        feather_m: over this distance, inside the mask's rim, the generated fades in.
        max_cloud: share of masked pixels above which a model that sees this scene alone refuses.
        keep_bands: write the bands that the model does not know as well, unchanged.
        references: other dates of the place, on any grid: clouds are filled from what they saw.
        sar: radar of about the same date, on any grid, for models that look at it.
        aoi: polygons (a GeoJSON or GeoPackage, or geometries): only what lies inside is written,
            on as much of the scene's grid as that takes; outside of them is nodata.
        bands, scale, offset, level, sensor, resolution_m: how it is read; see ``ReadingOptions``.
        halo, tile_size_px, batch_size, device: how it is computed; see ``Road``.
        provenance, uncertainty, mask_out, compare: further files to write.
        overwrite: replace files that exist.
    """

    model: str | Path | Translator = DEFAULT_MODEL
    mask: Mask = "auto"
    detector: str | Path | Detector | None = None
    dilate_m: float | None = None
    specks_m2: float | None = None
    holes_m2: float | None = None
    shadows: bool = True
    feather_m: float = 30.0
    max_cloud: float = 0.95
    keep_bands: bool = False
    references: Sequence[str | Path | Sequence[str | Path] | Scene] = ()
    sar: str | Path | Sequence[str | Path] | Scene | None = None
    aoi: Areas | None = None
    halo: Literal["exact", "fast"] = "exact"
    tile_size_px: int = 512
    batch_size: int | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    provenance: Path | None = None
    uncertainty: Path | None = None
    mask_out: Path | None = None
    compare: Path | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        for name, low, high in (
            ("max_cloud", 0, 1), ("feather_m", 0, 5_000),
            ("tile_size_px", 16, 8_192), ("batch_size", 1, 4_096),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise OptionError(
                    f"{name} is {value}",
                    f"it lies between {low} and {high}",
                    "choose another value",
                )
        if isinstance(self.references, str | Path):  # would be taken for a list of letters
            object.__setattr__(self, "references", (self.references,))
        self.mask_options()  # refuses its own

    def mask_options(self) -> MaskOptions:
        """Return what is to be replaced."""
        names = (each.name for each in fields(MaskOptions))
        return MaskOptions(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class DecloudResult:
    """What was done to a scene: shares of its valid pixels, files, seconds."""

    model: str
    device: str
    seconds: float
    n_valid: int
    cloud_share: float
    shadow_share: float
    generated_share: float
    observed_share: float
    feathered_share: float
    identical_share: float
    files: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the result as strings and numbers."""
        return {**asdict(self), "files": dict(self.files), "notes": list(self.notes)}

    def summary(self) -> str:
        """Return the result in a few lines for people."""
        lines = [
            f"cloud              {self.cloud_share:7.2%} of {self.n_valid} valid pixels, "
            f"shadow {self.shadow_share:.2%}",
            f"generated          {self.generated_share:7.2%} by {self.model} on {self.device}, "
            f"and {self.feathered_share:.2%} feathered",
            f"from other dates   {self.observed_share:7.2%}",
            f"identical          {self.identical_share:7.2%} of all values, bit for bit",
            f"time               {self.seconds:6.1f} s",
        ]
        return "\n".join([*lines, *(f"{what:18} {path}" for what, path in self.files.items())])
