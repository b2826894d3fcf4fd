"""Several scenes, one output each: what they are called, and where their outputs lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from geodecloud.errors import OptionError, OutputError
from geodecloud.geo.manifest import slug
from geodecloud.geo.publish import refuse_existing

RASTER_SUFFIX = ".tif"


class Task(NamedTuple):
    """One scene to work on.

    Attributes:
        source: a scene: one path, or the files of its bands.
        outputs: what is written of it, by what it is, such as "out".
    """

    source: Path | tuple[Path, ...]
    outputs: Mapping[str, Path]


def scene_name(path: Path) -> str:
    """Return what a scene is called: the name of its file or folder, safe as a name of others."""
    return slug(path.name if path.is_dir() else path.stem)


def scene_names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each scene; their outputs lie side by side.

    Raises:
        OptionError: two of them would have one.
    """
    names = [scene_name(path) for path in paths]
    for name, path in zip(names, paths, strict=True):
        first = paths[names.index(name)]
        if first != path:
            raise OptionError(
                f"{first} and {path} are both named {name}",
                "the output of each scene has its name",
                "work on them one by one, each into a folder of its own",
            )
    return names


def tasks_of(
    paths: Sequence[Path], out: Path, beside: Mapping[str, Path] = {}, *, overwrite: bool = False
) -> list[Task]:
    """Return one scene of all paths, or, where the output is a folder, each as a scene.

    Args:
        paths: scenes, or the files of one.
        out: a file, and the paths are one scene; or a folder, one that is there or a name without
            an ending: each scene's output is named like the scene.
        beside: further outputs, by what they are; folders where ``out`` is one, and of the suffix
            that their kind has.
        overwrite: replace outputs that exist.

    Raises:
        OptionError: two scenes have one name, or a further output is named like a file.
        OutputError: an output of several exists, or a folder cannot be made.
    """
    if not _is_folder(out):
        return [Task(paths[0] if len(paths) == 1 else tuple(paths), {"out": out, **beside})]
    folders = {"out": out, **beside}
    names = scene_names(paths)
    if files := [str(path) for path in beside.values() if not _is_folder(path)]:
        raise OptionError(
            f"{', '.join(files)} would be a file, and {out} is a folder",
            "what is written beside a folder goes into folders",
            "name them without an ending",
        )
    for folder in folders.values():
        _make(folder)
    tasks = [
        Task(path, {what: place / f"{name}{_suffix(what)}" for what, place in folders.items()})
        for path, name in zip(paths, names, strict=True)
    ]
    for task in tasks:
        for path in task.outputs.values():
            refuse_existing(path, overwrite)
    return tasks


def _is_folder(path: Path) -> bool:
    return path.is_dir() or not path.suffix


def _suffix(what: str) -> str:
    return ".html" if what == "compare" else RASTER_SUFFIX


def _make(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be made a folder: {error.strerror}",
            "what is made of several scenes goes into a folder",
            "name another one, or one OUT.tif for the files of one scene",
        ) from error
