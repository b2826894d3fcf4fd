"""TrainedModel: packages of one recipe as a contestant, each asked only of places new to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from geodecloud.benchmark.case import Case, Floats
from geodecloud.benchmark.contestants import MODEL, Contestant
from geodecloud.benchmark.suites import Suite
from geodecloud.errors import ModelError, OptionError
from geodecloud.geo.scene import ArrayMask, ArrayScene, ArraySink, Scene, shape_of
from geodecloud.geo.tiling import Window
from geodecloud.models import load_packaged
from geodecloud.pipeline import Aids, Road, translate_scene
from geodecloud.run.package import CARD, SHIPPED, WEIGHTS, Direction, Package, open_package
from geodecloud.translator import Translator

ALWAYS_THERE = frozenset({"pixels", "mask", "fill", "level"})
"""What every case has for a model."""

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Tensors among the weights that were counted, not trained."""

TILE_PX = 128
"""Small enough for borders in every case; smaller ones cost more around than they hold."""


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model by one or more packages: of several folds, each answers where it was not taught.

    Attributes:
        name: of the row.
        packages: of one recipe.
        n_threads: of ONNX Runtime.
    """

    name: str
    packages: Sequence[Package]
    n_threads: int = 1
    _loaded: dict[int, Translator] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str, folds: Path | None = None, n_threads: int = 1) -> TrainedModel:
        """Return the model of a word on the command line: NAME, PATH or NAME=PATH,PATH.

        Args:
            text: the word.
            folds: a folder of packages, ``<name>/<fold>``, which answer for a model called by its
                name alone.
            n_threads: of ONNX Runtime.

        Raises:
            ModelError: a package cannot be opened, or those of one name differ in kind.
        """
        label, is_labelled, rest = text.partition("=")
        paths = rest.split(",") if is_labelled else [text]
        if folds is not None and not is_labelled and (found := _folds_of(text, folds)):
            paths = found
        packages = [open_package(path) for path in paths]
        kinds = {_kind(package) for package in packages}
        if len(kinds) > 1:
            raise ModelError(
                f"{text} names models of several kinds",
                "folds of one model share task, bands and inputs",
                "give each kind a --models of its own",
            )
        name = label if is_labelled else Path(text).name if "/" in text else text
        if not name:
            raise OptionError(f"--models {text}", "it is NAME, PATH or NAME=PATH,PATH", "name it")
        return cls(name, packages, n_threads)

    @property
    def way(self) -> Direction:
        """The first direction of the first package."""
        return self.packages[0].direction()

    @cached_property
    def n_parameters(self) -> int:
        """How many trained numbers the first package holds."""
        return sum(
            int(np.prod(entry["shape"]))
            for name, entry in _tensors(self.packages[0].read(WEIGHTS)).items()
            if not name.endswith(STATISTICS)
        )

    def suits(self, suite: Suite) -> bool:
        """Say whether it draws the suite's bands from what its cases have."""
        way, task = self.way, self.packages[0].card.task
        if suite.source:
            has_inputs = task == "translation" and way.inputs == ("pixels",)
        else:
            has_inputs = suite.is_radiometric and set(way.inputs) <= ALWAYS_THERE | suite.offers
        return (
            has_inputs
            and set(way.bands_out) == set(suite.bands)
            and set(way.bands_in) <= set(suite.source or suite.bands)
        )

    def package_for(self, place: str) -> Package | None:
        """Return the first package that was not taught by a place; None where all were."""
        for package in self.packages:
            taught = places_of(package)
            if taught is not None and place not in taught:
                return package
        return None

    def contestants(self, *, uses_fill: bool = True) -> list[Contestant]:
        """Return the model as a row of the table; one that looks at radar also without it."""
        found = {self.name: self.draw}
        if "sar" in self.way.inputs:
            found[f"{self.name}, radar hidden"] = self.draw_blind
        return [
            Contestant(name, MODEL, draw, uses_fill, n_parameters=self.n_parameters)
            for name, draw in found.items()
        ]

    def draw(self, case: Case) -> Floats:
        """Return the case by the road that ``decloud`` takes."""
        return self.drawn(case, Road())

    def draw_blind(self, case: Case) -> Floats:
        """Return the case as ``draw`` does where its radar has no valid pixel."""
        return self.drawn(case, Road(), is_blind=True)

    def drawn(self, case: Case, road: Road, moved_px: int = 0, *, is_blind: bool = False) -> Floats:
        """Return the case by a road, the grid of its tiles moved by some pixels, (C, H, W)."""
        package = self.package_for(case.place)
        if package is None:
            raise ModelError(
                f"{self.name} was taught by {case.place}",
                "a model is measured where it was not",
                "train it with this place's fold held out",
            )
        translator = self._translator(package)
        scene, canvas = case.source or case.scene, case.scene
        if moved_px:
            scene, canvas = _moved(scene, moved_px), _moved(canvas, moved_px)
        aids = Aids(canvas=canvas) if case.source is not None else self._aids(case, is_blind)
        sink = ArraySink(len(case.bands), case.mask.shape, canvas.sensor.bands[0].dtype)
        with sink:
            translate_scene(scene, sink, translator, aids=aids, road=road)
        return canvas.sensor.to_reflectance(sink.dn)

    def _aids(self, case: Case, is_blind: bool) -> Aids:
        extras = {name: case.extras[name] for name in self.way.inputs if name in case.extras}
        if is_blind:
            extras = {name: _blank(scene) for name, scene in extras.items()}
        if "reference" in self.way.inputs:
            extras["reference"] = case.references[0].scene
        return Aids(ArrayMask(case.mask), case.filled, extras)

    def by_tiles(self, case: Case, *, is_moved: bool = False) -> tuple[Floats, int]:
        """Return the case drawn in the smallest tiles that suit the model, and their side.

        The tiles start at the case's own corner, or half a tile before it.
        """
        stride_px = self.way.stride_px
        side_px = -(-TILE_PX // stride_px) * stride_px
        half_px = max(stride_px, side_px // 2 // stride_px * stride_px)
        moved_px = 2 * side_px + (half_px if is_moved else 0)
        return self.drawn(case, Road(size_px=side_px), moved_px), side_px

    def _translator(self, package: Package) -> Translator:
        key = id(package)
        if key not in self._loaded:
            self._loaded[key] = load_packaged(package, "cpu", n_threads=self.n_threads)
        return self._loaded[key]


def shipped_models() -> list[str]:
    """Return the names of the models that come with the package."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/model.json"))


def places_of(package: Package) -> frozenset[str] | None:
    """Return the places that taught a model, by its card; None where the card does not say all."""
    data: Any = package.card.training.get("data", {})
    places = data.get("places") if isinstance(data, Mapping) else None
    if not isinstance(places, list) or len(places) < data.get("n_places", 0):
        return None
    return frozenset(map(str, places))


def untaught(model: TrainedModel, places: Iterable[str]) -> set[str]:
    """Return those of the places where a model can be measured."""
    return {place for place in places if model.package_for(place) is not None}


def _folds_of(name: str, folds: Path) -> list[str]:
    """The folders of a model's folds; none where it has none."""
    return sorted(str(card.parent) for card in folds.glob(f"{name}/*/{CARD}"))


def _kind(package: Package) -> tuple[object, ...]:
    way = package.direction()
    return package.card.task, way.inputs, way.bands_in, way.bands_out, way.stride_px


def _tensors(content: bytes) -> dict[str, Any]:
    """The table of contents of a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    return {name: entry for name, entry in header.items() if name != "__metadata__"}


def _blank(scene: Scene) -> ArrayScene:
    """A scene of the same grid and bands without a valid pixel."""
    dn, valid = scene.read(Window.whole(shape_of(scene.geobox)))
    return ArrayScene(dn, scene.sensor, scene.geobox, np.zeros_like(valid))


def _moved(scene: ArrayScene, pixels: int) -> ArrayScene:
    """The same pixels, so many rows and columns from the corner of a grid of metres."""
    dn, valid = scene.read(Window.whole(shape_of(scene.geobox)))
    corner = Affine(10, 0, 10 * pixels, 0, -10, -10 * pixels)
    return ArrayScene(dn, scene.sensor, GeoBox(dn.shape[1:], corner, "EPSG:32632"), valid)
