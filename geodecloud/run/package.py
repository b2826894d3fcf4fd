"""Package and ModelCard: model.json, its schema and checksums; where models are found."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic import model_validator as validates

from geodecloud.errors import ModelError
from geodecloud.run.files import ArchiveFiles, Files, FolderFiles
from geodecloud.translator import Request

CARD = "model.json"
WEIGHTS = "weights.safetensors"
UNCERTAINTY = "uncertainty"
"""The direction that says how far the others may be off; its files bear its name."""
EMD_SUFFIX, ARCHIVE_SUFFIX = ".emd", ".dlpk"
SHIPPED = Path(__file__).parent.parent / "weights"
CARD_LIMIT_BYTES = 1_000_000
FILE_LIMIT_BYTES = 4_000_000_000

PICKLE_SUFFIXES = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".dill", ".npy")
"""Files that run code when they are loaded: no package holds one."""

PROGRAM_SUFFIXES = (".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".sh", ".bat", ".exe")
"""Files that are code: no folder holds one; in a .dlpk, where ArcGIS wants one, it stays unread."""

LEVEL_FLAGS = {"L1C": 1.0, "L2A": -1.0}
"""How a network is told the product level; 0 where it is not known."""

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Word = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Text = Annotated[str, StringConstraints(max_length=10_000)]
Words = Annotated[tuple[Word, ...], Field(min_length=1, max_length=64)]
Limits = Annotated[tuple[float, ...], Field(max_length=64)]
Scalar = bool | int | float | str | None
Figures = dict[Word, float | dict[Word, float | dict[Word, float]]]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FileEntry(_Part):
    """A file of the package and its checksum."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    n_bytes: Annotated[int, Field(ge=0, le=FILE_LIMIT_BYTES)]


class Network(_Part):
    """What rebuilds a network: names in the registries and their arguments."""

    adapter: Word
    generator: Word
    arguments: dict[Word, Scalar | tuple[int | float | str, ...]] = Field(default_factory=dict)
    limits: dict[Literal["low", "high", "low_out", "high_out", "low_extra", "high_extra"], Limits]


class Direction(_Part):
    """One way a model translates; most have one, a CycleGAN has two.

    Attributes:
        name: "forward", or "AtoB" and "BtoA".
        network: what rebuilds it; its weights are named ``<name>.<key>`` in the weights file.
        graph: its file in ONNX, None where there is none.
        inputs: what it wants of a request, in order: "pixels", "mask", "fill", "level", or the
            name of an extra.
        extras: names of the bands of each extra.
        sensor_in, sensor_out: names of the sensors, for the units.
        stride_px, halo_px: as a translator has them.
    """

    name: Word = "forward"
    network: Network
    graph: Word | None = None
    inputs: Words
    extras: dict[Word, Words] = Field(default_factory=dict)
    sensor_in: Word
    bands_in: Words
    sensor_out: Word
    bands_out: Words
    stride_px: Annotated[int, Field(ge=1, le=1024)]
    halo_px: Annotated[int, Field(ge=0, le=4096)]


class ModelCard(_Part):
    """What ``model.json`` says of a model.

    Attributes:
        system: which model class made it ("Pix2Pix").
        task: "cloud-removal" or "translation".
        resolution_m: pixel size of the training data, None where it does not matter.
        uncertainty: from the same inputs, one standard deviation of the error of each value of
            the first direction, in its unit; None where the model does not know.
        files: the other files of the package.
        metrics: figures by region and method, such as ``{"thick": {"psnr": 30.1}}``.
        training: the recipe it was trained with.
        attribution: what must be said where the model or its pictures are published.
    """

    format: Literal["geodecloud-model"] = "geodecloud-model"
    version: Literal[1] = 1
    name: Slug
    system: Word
    task: Word
    summary: Text = ""
    resolution_m: Annotated[float, Field(gt=0, le=100_000)] | None = None
    directions: Annotated[tuple[Direction, ...], Field(min_length=1, max_length=4)]
    uncertainty: Direction | None = None
    files: Annotated[dict[Word, FileEntry], Field(max_length=16)]
    versions: dict[Word, Word] = Field(default_factory=dict)
    metrics: Figures = Field(default_factory=dict)
    training: dict[Word, Any] = Field(default_factory=dict)
    attribution: tuple[Text, ...] = ()
    licence: Text = ""

    @validates(mode="after")
    def _names_its_files(self) -> ModelCard:
        for name in self.files:
            if name != Path(name).name or name.startswith("."):
                raise ValueError(f"file name {name!r} leaves the folder")
        graphs = {direction.graph for direction in self.directions} - {None}
        if self.uncertainty is not None:
            graphs |= {weights_of(self.uncertainty), self.uncertainty.graph}
        if missing := {WEIGHTS, *graphs} - set(self.files):
            raise ValueError(f"files has no {', '.join(sorted(map(str, missing)))}")
        return self


def weights_of(direction: Direction) -> str:
    """Return the file that holds a direction's weights."""
    return f"{UNCERTAINTY}.safetensors" if direction.name == UNCERTAINTY else WEIGHTS


@dataclass(frozen=True, slots=True)
class Package:
    """A model's card and files.

    Attributes:
        files: where its files are.
        card: what ``model.json`` says.
        unread: programs among the files; they are never opened.
    """

    files: Files
    card: ModelCard
    unread: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder, or the .dlpk, that holds the model."""
        return self.files.place

    def read(self, name: str) -> bytes:
        """Return the bytes of a file of the package, which are those that were checked.

        Raises:
            ModelError: the file is missing, or its sha256 is not the one of the card.
        """
        entry = self.card.files[name]
        try:
            content = self.files.read(name, entry.n_bytes)
            if hashlib.sha256(content).hexdigest() != entry.sha256:
                raise ValueError("another sha256")
            return content
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{self.folder / name} is damaged ({error})",
                f"{CARD} holds the checksum of every file",
                "copy or download the model again",
            ) from error

    def direction(self, name: str | None = None) -> Direction:
        """Return the direction of this name; None means the only or first one.

        Raises:
            ModelError: the model has no such direction.
        """
        known = {direction.name: direction for direction in self.card.directions}
        if name == UNCERTAINTY and self.card.uncertainty is not None:
            return self.card.uncertainty
        if name is None:
            return self.card.directions[0]
        if name not in known:
            raise ModelError(
                f"{self.card.name} has no direction {name!r}",
                f"it has {', '.join(known)}",
                "choose one of them",
            )
        return known[name]


def open_package(name_or_path: str | os.PathLike[str] | Package) -> Package:
    """Return the package of this name or path, its card checked and its files as the card says.

    Raises:
        ModelError: there is none, its card does not fit the schema, a file is missing or of
            another size, or a file among them could run code.
    """
    if isinstance(name_or_path, Package):
        return name_or_path
    files = files_of(find_package(name_or_path))
    sizes = files.sizes
    is_archive = isinstance(files, ArchiveFiles)
    for file in sizes:
        if is_code(file, PICKLE_SUFFIXES if is_archive else PICKLE_SUFFIXES + PROGRAM_SUFFIXES):
            raise ModelError(
                f"{files.place} holds {file}",
                f"a model package is {CARD}, {WEIGHTS} and ONNX: data alone, never code",
                "do not use it; ask its author for a package without that file",
            )
    card = parse_card(_card_bytes(files), files.place / CARD)
    for name, entry in card.files.items():
        size = sizes.get(name)
        if size != entry.n_bytes:
            raise ModelError(
                f"{files.place / name} " + ("is missing" if size is None else f"has {size} bytes"),
                f"{CARD} says {entry.n_bytes} bytes",
                "copy or download the model again",
            )
    return Package(files, card, tuple(file for file in sizes if is_code(file, PROGRAM_SUFFIXES)))


def files_of(place: Path) -> Files:
    """Return the files of a folder or of a .dlpk, its table of contents checked."""
    return ArchiveFiles(place) if place.is_file() else FolderFiles(place)


def is_code(file: str, suffixes: Sequence[str]) -> bool:
    """Say whether a file's name ends like this, in any case."""
    return file.lower().endswith(tuple(suffixes))


def read_card(path: Path) -> ModelCard:
    """Return the card in a ``model.json``.

    Raises:
        ModelError: it cannot be read or does not fit the schema.
    """
    return parse_card(_card_bytes(FolderFiles(path.parent)), path)


def parse_card(content: bytes, path: Path) -> ModelCard:
    """Return the card that these bytes, of a file of this path, are.

    Raises:
        ModelError: they do not fit the schema.
    """
    try:
        if len(content) > CARD_LIMIT_BYTES:
            raise ValueError(f"it has more than {CARD_LIMIT_BYTES} bytes")
        return ModelCard.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise _bad_card(path, reason) from error
    except (ValueError, RecursionError) as error:
        raise _bad_card(path, str(error)) from error


def _card_bytes(files: Files) -> bytes:
    try:
        return files.read(CARD, CARD_LIMIT_BYTES)
    except (OSError, ValueError) as error:
        raise _bad_card(files.place / CARD, str(error)) from error


def _bad_card(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"{path} is not a model card ({reason})",
        "it is what geodecloud writes beside the weights",
        "check the path, copy the model again, or use the version of geodecloud that made it",
    )


def model_folders() -> list[Path]:
    """Return where models are looked for by name: shipped ones, then the user's own."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return [SHIPPED, Path(cache) / "geodecloud" / "models"]


def known_packages() -> dict[str, Path]:
    """Return the folders of all models that can be used by name."""
    found: dict[str, Path] = {}
    for parent in model_folders():
        for card in sorted(parent.glob(f"*/{CARD}")):
            found.setdefault(card.parent.name, card.parent)
    return found


def find_package(name_or_path: str | os.PathLike[str]) -> Path:
    """Return where a model is: its folder, or the .dlpk that holds it.

    Known are the path of either, of the ``model.json`` or the ``.emd`` in a folder, and a name.

    Raises:
        ModelError: none is there; the message names those that are.
    """
    path = Path(name_or_path)
    if path.name == CARD or path.suffix.lower() == EMD_SUFFIX:
        path = path.parent
    if (path / CARD).is_file():
        return path
    if is_foreign(path):
        raise _foreign(path)
    if path.suffix.lower() == ARCHIVE_SUFFIX and path.is_file():
        return path
    known = known_packages()
    if str(name_or_path) in known:
        return known[str(name_or_path)]
    raise ModelError(
        f"no model {str(name_or_path)!r}",
        f"known by name are {', '.join(known) or 'none'}; a path is a .dlpk, or a folder with "
        f"{CARD}",
        "see `geodecloud models`, or give the path of a model's folder",
    )


def is_foreign(name_or_path: str | os.PathLike[str]) -> bool:
    """Say whether a model lies there that another program made: an ``.emd``, and no card of ours.

    Raises:
        ModelError: it is a .dlpk that tries something.
    """
    path = Path(name_or_path)
    if path.suffix.lower() == EMD_SUFFIX and path.is_file():
        path = path.parent
    if path.suffix.lower() == ARCHIVE_SUFFIX and path.is_file():
        return CARD not in ArchiveFiles(path).sizes
    return path.is_dir() and any(path.glob(f"*{EMD_SUFFIX}")) and not (path / CARD).exists()


def _foreign(path: Path) -> ModelError:
    return ModelError(
        f"{path} has no {CARD}: another program made it",
        f"a model package of geodecloud is {CARD}, {WEIGHTS} and ONNX",
        "where its weights are a .pth for a network that is known here, "
        "from_model(path, allow_pth=True) loads them",
    )


def feeds(request: Request, direction: Direction, model: str) -> dict[str, npt.NDArray[np.float32]]:
    """Return what a network is fed, by name and in its order: both engines feed the same arrays.

    "pixels" and "fill" are (B, C, H, W) values, "mask" (B, 1, H, W) of 0 and 1, "level" (B,).

    Raises:
        ModelError: the request lacks an input that the network wants.
    """
    batch, n_bands, height, width = request.pixels.shape
    if n_bands != len(direction.bands_in):
        raise ModelError(
            f"tiles of {n_bands} bands",
            f"{model} wants {', '.join(direction.bands_in)}",
            "choose these bands",
        )
    mask = np.ones((batch, 1, height, width), bool) if request.mask is None else request.mask
    level = LEVEL_FLAGS.get(request.level or "", 0.0)
    have: Mapping[str, npt.NDArray[Any] | None] = {
        **request.extra,
        "pixels": request.pixels,
        "mask": mask,
        "fill": request.fill,
        "level": np.full(batch, level, np.float32),
    }
    fed: dict[str, npt.NDArray[np.float32]] = {}
    for name in direction.inputs:
        array = have.get(name)
        if array is None:
            raise ModelError(
                f"the request has no {name!r}",
                f"{model} wants {', '.join(direction.inputs)}",
                f"give it {name}, or use a model that does without",
            )
        fed[name] = np.ascontiguousarray(array, np.float32)
    return fed
