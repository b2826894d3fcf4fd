"""What geodecloud needs of a machine, and whether it is here."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from geodecloud import __version__

PACKAGES = (
    "numpy",
    "rasterio",
    "odc-geo",
    "shapely",
    "xarray",
    "pydantic",
    "jinja2",
    "click",
    "rich",
)
EXTRAS = {
    "torch": ("learn", "training, and models on a GPU"),
    "dask": ("batch", "many scenes at once"),
    "rioxarray": ("xarray", "da.geodecloud"),
}
DRIVERS = ("GTiff", "COG", "JP2OpenJPEG", "PNG", "JPEG")
LOW_BYTES = 2_000_000_000  # a whole tile of four bands, written and verified

# Asked in a child process: torch takes seconds to import, and a broken driver may crash.
DEVICES = {
    "onnxruntime": "import onnxruntime as o; print(', '.join(o.get_available_providers()))",
    "torch": (
        "import torch as t; print(t.cuda.get_device_name() if t.cuda.is_available() else 'cpu')"
    ),
}
CHILD_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: "ok", "missing" (needed), "absent" (optional) or "low"; and what it is."""

    status: Literal["ok", "missing", "absent", "low"]
    text: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the finding as strings."""
        return asdict(self)


def checks() -> dict[str, Check]:
    """Return all findings by name, in the order in which they are shown."""
    found = {
        "geodecloud": Check("ok", __version__),
        "python": Check("ok", f"{platform.python_version()}, {platform.platform()}"),
    }
    for name in PACKAGES:
        found[name] = _package(name, "pip install geodecloud")
    found |= _gdal()
    found["onnxruntime"] = _engine("onnxruntime", "pip install geodecloud")
    for name, (extra, purpose) in EXTRAS.items():
        hint = f"for {purpose}: pip install 'geodecloud[{extra}]'"
        check = _engine(name, hint) if name in DEVICES else _package(name, hint)
        found[name] = Check("absent", check.text) if check.status == "missing" else check
    found["processor"] = Check("ok", f"{os.cpu_count()} cores")
    found["memory"] = _memory()
    found["temporary files"] = _folder(Path(tempfile.gettempdir()))
    found["cache"] = _folder(_cache())
    found["this folder"] = _folder(Path.cwd())
    return found


def _package(name: str, hint: str) -> Check:
    try:
        return Check("ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Check("missing", hint)


def _engine(name: str, hint: str) -> Check:
    """A package that computes, and on which devices."""
    check = _package(name, hint)
    if check.status != "ok":
        return check
    try:
        child = subprocess.run(
            [sys.executable, "-c", DEVICES[name]],
            capture_output=True,
            text=True,
            timeout=CHILD_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        reason = str(getattr(error, "stderr", "") or error).strip().splitlines()[-1:]
        return Check("missing", f"{check.text} does not start: {''.join(reason)[:200]}")
    return Check("ok", f"{check.text}, on {child.stdout.strip()}")


def _gdal() -> dict[str, Check]:
    """GDAL, PROJ, and the formats that are read and written."""
    try:
        import rasterio
    except ImportError as error:
        return {"gdal": Check("missing", str(error))}
    with rasterio.Env() as env:
        drivers = env.drivers()
    return {
        "gdal": Check("ok", rasterio.__gdal_version__),
        "proj": Check("ok", rasterio.__proj_version__),
        **{
            f"format {name}": Check("ok", drivers[name])
            if name in drivers
            else Check("missing", "this GDAL cannot read or write it: use the wheels of rasterio")
            for name in DRIVERS
        },
    }


def _memory() -> Check:
    """Memory of the machine, where the system says."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return Check("ok", "this system does not say")
    return Check("ok" if total >= LOW_BYTES else "low", f"{total / 1e9:.1f} GB")


def _folder(path: Path) -> Check:
    """Room in a folder, or in the nearest one above that exists, and the right to write there."""
    place = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        return Check("missing", f"{path}: no right to write")
    return Check("ok" if free >= LOW_BYTES else "low", f"{path}, {free / 1e9:.1f} GB free")


def _cache() -> Path:
    from geodecloud.run.package import model_folders

    return model_folders()[-1]
