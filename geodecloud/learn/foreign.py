"""foreign_package: weights that another program saved, for a network that is known here."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import save as save_tensors
from torch import Tensor

from geodecloud.errors import ModelError
from geodecloud.learn.networks import ADAPTERS, GENERATORS
from geodecloud.run.files import Files, MemoryFiles
from geodecloud.run.package import (
    CARD_LIMIT_BYTES,
    EMD_SUFFIX,
    FILE_LIMIT_BYTES,
    PROGRAM_SUFFIXES,
    WEIGHTS,
    Direction,
    FileEntry,
    ModelCard,
    Package,
    files_of,
    is_code,
)

WEIGHT_SUFFIXES = (".pth", ".pt")
UNREADABLE = (
    *(OSError, EOFError, RuntimeError, pickle.PickleError, struct.error),
    *(ValueError, TypeError, AttributeError, LookupError, OverflowError),
)
"""What torch raises where a file is damaged, or holds more than tensors."""

NESTS = ("model", "state_dict", "model_state_dict")
"""Keys under which programs keep the weights among other things."""


def foreign_package(path: Path) -> Package:
    """Return, in memory, the package of an ``.emd`` and the ``.pth`` that it names.

    The weights are read by ``torch.load(weights_only=True)``, which runs no code, and have to fit
    the networks that the definition's ``ModelParameters`` names as ours does. Programs beside
    them are never opened.

    Args:
        path: an ``.emd``, the folder that holds one, or a ``.dlpk``.

    Raises:
        ModelError: there is no definition, it names a network that is not known here, or the
            weights are damaged, run code, or are those of another network.
    """
    files = files_of(path.parent if path.suffix.lower() == EMD_SUFFIX else path)
    name = path.name if path.suffix.lower() == EMD_SUFFIX else _definition_in(files)
    said = _read_definition(files, name)
    directions = _directions(files, name, said)
    tensors = _named(_read_weights(files, _weights_in(files, said)), directions)
    content = save_tensors(tensors)
    card = ModelCard(
        name=re.sub(r"[^a-z0-9._-]+", "-", Path(name).stem.lower()).strip("._-")[:64] or "foreign",
        system=str(said.get("ModelName", ""))[:64] or "unknown",
        task=str(said.get("ModelParameters", {}).get("task", "translation"))[:64],
        summary=str(said.get("Description", ""))[:10_000],
        directions=directions,
        files={
            WEIGHTS: FileEntry(sha256=hashlib.sha256(content).hexdigest(), n_bytes=len(content))
        },
    )
    unread = tuple(file for file in files.sizes if is_code(file, PROGRAM_SUFFIXES))
    return Package(MemoryFiles(files.place, {WEIGHTS: content}), card, unread)


def _definition_in(files: Files) -> str:
    found = [name for name in files.sizes if name.lower().endswith(EMD_SUFFIX)]
    if len(found) != 1:
        raise ModelError(
            f"{files.place} holds {', '.join(found) or 'no .emd'}",
            "one .emd says which network the weights belong to",
            "give the path of the .emd",
        )
    return found[0]


def _read_definition(files: Files, name: str) -> dict[str, Any]:
    try:
        content = files.read(name, CARD_LIMIT_BYTES)
        if len(content) > CARD_LIMIT_BYTES:
            raise ValueError(f"more than {CARD_LIMIT_BYTES} bytes")
        said = json.loads(content)
        if not isinstance(said, dict) or not isinstance(said.get("ModelParameters", {}), dict):
            raise ValueError("no table of keys")
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{files.place / name} is no model definition ({error})",
            "it is JSON with ModelName, ModelFile and ModelParameters",
            "copy the model again",
        ) from error
    return said


def _directions(files: Files, name: str, said: Mapping[str, Any]) -> tuple[Direction, ...]:
    parameters = said.get("ModelParameters", {})
    try:
        ways = tuple(
            Direction.model_validate({**way, "graph": None})
            for way in parameters.get("directions", ())
        )
    except (ValidationError, TypeError) as error:
        raise _unknown(files.place / name, str(said.get("ModelName"))) from error
    for way in ways:
        if way.network.generator not in GENERATORS or way.network.adapter not in ADAPTERS:
            raise _unknown(files.place / name, f"{way.network.adapter}, {way.network.generator}")
    if not ways:
        raise _unknown(files.place / name, str(said.get("ModelName")))
    return ways


def _unknown(path: Path, named: str) -> ModelError:
    return ModelError(
        f"{path} names the network {named}",
        "weights are loaded into networks that are known here, described in ModelParameters: "
        f"directions of {', '.join(ADAPTERS)} with {', '.join(GENERATORS)}",
        "train the model here, or describe its network as the .emd of a saved model does",
    )


def _weights_in(files: Files, said: Mapping[str, Any]) -> str:
    name = PurePosixPath(str(said.get("ModelFile", "")).replace("\\", "/")).name
    if not name.lower().endswith(WEIGHT_SUFFIXES) or name not in files.sizes:
        raise ModelError(
            f"the definition in {files.place} names the weights {name!r}",
            f"they are a {' or '.join(WEIGHT_SUFFIXES)} file beside it",
            "copy the model again",
        )
    return name


def _read_weights(files: Files, name: str) -> Mapping[str, Tensor]:
    try:
        content = files.read(name, FILE_LIMIT_BYTES)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about pickles that are not its own
            loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise ModelError(
            f"{files.place / name} cannot be read as weights ({str(error).partition(chr(10))[0]})",
            "it is a table of tensors that torch loads with weights_only",
            "do not use it; ask its author for plain weights",
        ) from error
    for nest in NESTS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(nest), Mapping):
            loaded = loaded[nest]
    if not isinstance(loaded, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in loaded.items()
    ):
        raise ModelError(
            f"{files.place / name} holds a {type(loaded).__name__}",
            "it is a table of tensors by name, a state_dict",
            "save the weights with torch.save(network.state_dict())",
        )
    return loaded


def _named(tensors: Mapping[str, Tensor], directions: tuple[Direction, ...]) -> dict[str, Tensor]:
    """The tensors under the names that a package gives them: the direction comes first."""
    prefixes = tuple(f"{way.name}." for way in directions)
    prefix = "" if all(key.startswith(prefixes) for key in tensors) else prefixes[0]
    return {f"{prefix}{key}": tensor.contiguous().clone() for key, tensor in tensors.items()}
