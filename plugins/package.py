"""The plugin as the zip that QGIS installs and plugins.qgis.org takes: `make plugin`.

Usage: package.py [FOLDER]
"""

import configparser
import sys
import zipfile
from pathlib import Path

PLUGIN = Path(__file__).with_name("qgis_geodecloud")
LARGEST_BYTES = 25_000_000  # what plugins.qgis.org takes
ENDINGS = {".py", ".txt", ".svg", ".model3", ""}
ALWAYS_THE_SAME = (1980, 1, 1, 0, 0, 0)  # equal contents make an equal zip


def package(folder):
    """Write the zip into a folder and return its path."""
    about = configparser.ConfigParser(interpolation=None)
    about.read(PLUGIN / "metadata.txt", encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{PLUGIN.name}-{about['general']['version']}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in contents():
            entry = zipfile.ZipInfo(path.relative_to(PLUGIN.parent).as_posix(), ALWAYS_THE_SAME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())
    if target.stat().st_size > LARGEST_BYTES:
        sys.exit(f"{target} has more than {LARGEST_BYTES} bytes: plugins.qgis.org refuses it")
    return target


def contents():
    """Return the files of the plugin, sorted: no caches, nothing hidden, nothing compiled."""
    found = (
        path
        for path in PLUGIN.rglob("*")
        if path.is_file()
        and path.suffix in ENDINGS
        and not any(part.startswith((".", "__pycache__")) for part in path.parts)
    )
    return sorted(found)


if __name__ == "__main__":
    made = package(Path(sys.argv[1] if len(sys.argv) > 1 else "dist"))
    sys.stdout.write(f"{made}, {made.stat().st_size / 1000:.0f} kB\n")
