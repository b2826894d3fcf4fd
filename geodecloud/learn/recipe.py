"""Recipe: a training that has a name and can be repeated, here or on a bare GPU machine.

``python -m geodecloud.learn.recipe decloud-s2-4band chips.safetensors OUT`` needs torch, numpy and
safetensors alone; where the rest of geodecloud is installed it ends with a model package.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import json
import sys
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from geodecloud.errors import GeodecloudError, OptionError
from geodecloud.learn.data import ChipData, split
from geodecloud.learn.models import MODELS, Model
from geodecloud.learn.packed import PackedChips
from geodecloud.learn.place import is_first_process
from geodecloud.learn.splitting import Folds, split_chips
from geodecloud.learn.state import STATE_JSON, load_averages
from geodecloud.progress import Cancelled, Listener, Progress, silent

RECIPES = Path(__file__).parent.parent / "recipes"
TABLES = ("data", "model", "training", "card")
PACKAGE_NEEDS = ("pydantic", "onnx", "onnxscript", "odc")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is trained on what, how long and how: the four tables of a recipe's TOML."""

    name: str
    data: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, name_or_path: str | Path) -> Self:
        """Return a recipe by name, or from a TOML file.

        Raises:
            OptionError: there is none, or it is no recipe.
        """
        path = Path(name_or_path)
        if path.suffix != ".toml":
            path = RECIPES / f"{name_or_path}.toml"
        known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
        try:
            tables = tomllib.loads(path.read_text())
            return cls(path.stem, **tables)
        except (OSError, TypeError, ValueError) as error:
            raise OptionError(
                f"recipe {str(name_or_path)!r} cannot be read ({error})",
                f"known by name are {known}; a file has the tables data, model, training, card",
                "choose one of them, or correct the file",
            ) from error

    @classmethod
    def fitting(cls, data: ChipData, system: str | None = None) -> Self:
        """Return the plain training of a model on this data: of ``system``, or the one that fits.

        Raises:
            OptionError: no model trains on such data.
        """
        fit = [name for name, kind in MODELS.items() if data.dataset_type in kind.dataset_types]
        if system is None and not fit:
            raise OptionError(
                f"data of type {data.dataset_type}",
                "; ".join(f"{name} takes {_listed(k.dataset_types)}" for name, k in MODELS.items()),
                "choose another dataset type",
            )
        system = system or fit[0]
        return cls(system.lower(), {"dataset_type": data.dataset_type}, {"system": system})

    def changed(self, asked: Recipe) -> Self:
        """Return the recipe with the values of another in the place of its own."""
        tables = self._tables()
        for name, values in asked._tables().items():
            tables[name].update(values)
        return replace(self, **tables)

    def with_settings(self, settings: Iterable[str]) -> Self:
        """Return the recipe with lines of TOML put into its tables, such as ``training.lr=1e-3``.

        Raises:
            OptionError: one is no such line, or is of no table.
        """
        tables = self._tables()
        for setting in settings:
            try:
                for name, values in tomllib.loads(setting).items():
                    tables[name].update(values)
            except (KeyError, TypeError, ValueError) as error:
                raise OptionError(
                    f"setting {setting!r} ({error})",
                    f"a setting is TABLE.KEY=VALUE as in TOML; tables are {_listed(TABLES)}",
                    'write it like training.lr=1e-3 or data.bands=["B04"]',
                ) from error
        return replace(self, **tables)

    def _tables(self) -> dict[str, Any]:
        return {name: dict(getattr(self, name)) for name in TABLES}

    def chips(self, packed: PackedChips, fold: Folds | None = None) -> ChipData:
        """Return the training set of packed chips, folds or a tenth of the places held out.

        Raises:
            DataError: the chips lack a band of the recipe.
        """
        if "bands" in self.data:
            packed = packed.select(self.data["bands"])
        if "source" in self.data:
            packed = packed.drawn_from(self.data["source"])
        own = ("bands", "source", "split_by")
        options = {k: v for k, v in self.data.items() if k not in own}
        parts = {key: options[key] for key in ("val_split_pct", "seed") if key in options}
        _refuse_unknown(ChipData, "the training set", packed, train=(), valid=(), **options)
        if self.data.get("split_by") == "chip":
            train, valid = split_chips(packed, **parts)
        else:
            train, valid = split(packed, fold=fold, **parts)
        return ChipData(packed, train=train, valid=valid, **options)

    def make(self, data: ChipData) -> Model:
        """Return the untrained model.

        Raises:
            OptionError: there is no such model, or it has no such option.
        """
        options = dict(self.model)
        system = options.pop("system")
        if system not in MODELS:
            raise OptionError(f"model {system!r}", f"models are {_listed(MODELS)}", "choose one")
        make: Any = MODELS[system]
        _refuse_unknown(make, system, data, **options)
        model: Model = make(data, **options)
        return model

    def train(
        self,
        data: ChipData,
        out: Path,
        *,
        resume: bool = False,
        device: str = "auto",
        listener: Listener = silent,
        **changed: Any,
    ) -> Model:
        """Return the trained model; states are saved in ``out``. ``changed`` overrules the TOML.

        Raises:
            OptionError: there is no such model, or an option that it or its training has not.
        """
        model = self.make(data)
        options = {**self.training, **changed}
        _refuse_unknown(model.fit, "the training", **options)
        model.fit(**options, out=out, resume=resume, device=device, listener=listener)
        return model


def _refuse_unknown(call: Callable[..., Any], name: str, *given: Any, **options: Any) -> None:
    """Refuse options that a call does not have."""
    try:
        inspect.signature(call).bind(*given, **options)
    except TypeError as error:
        raise OptionError(
            f"{name} with {_listed(options)} ({error})",
            "each has its own options",
            "leave it out, or choose another",
        ) from error


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def main(arguments: list[str] | None = None) -> int:
    """Train a recipe on packed chips, as a script; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m geodecloud.learn.recipe", description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("chips", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--fold", type=int, action="append", help="a fold that is held out; may be repeated"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the state in OUT")
    parser.add_argument(
        "--weights", type=Path, action="append", default=[], metavar="BEST.SAFETENSORS",
        help="no training: these weights, or the mean of several",
    )  # fmt: skip
    parser.add_argument("--device", default="auto")
    parser.add_argument("--devices", type=int, default=1, help="GPUs that share each batch")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.KEY=VALUE")
    asked = parser.parse_args(arguments)
    try:
        recipe = Recipe.read(asked.recipe).with_settings(asked.set)
        data = recipe.chips(PackedChips(asked.chips), asked.fold)
        model = _model_of(recipe, data, asked)
        if not is_first_process():
            return 0  # one of several devices: the first goes on alone
        if asked.fold is not None:
            model.training["held_out_fold"] = asked.fold if asked.fold[1:] else asked.fold[0]
        figures = model.compute_metrics() if data.holds_out else {}
        sys.stdout.write(json.dumps({"event": "metrics", **figures}) + "\n")
        if all(importlib.util.find_spec(name) for name in PACKAGE_NEEDS):
            model.save(
                Path.cwd() / asked.out / recipe.name,
                compute_metrics=False,
                overwrite=True,
                **recipe.card,
            )
        else:
            sys.stdout.write(
                "trained; for the package run again with --resume where all is installed\n"
            )
    except GeodecloudError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except (KeyboardInterrupt, Cancelled):
        sys.stderr.write("stopped; the state is saved: go on with --resume\n")
        return 130
    return 0


def _model_of(recipe: Recipe, data: ChipData, asked: argparse.Namespace) -> Model:
    if asked.weights:
        model = recipe.make(data)
        load_averages(asked.weights, model.networks)
        model.training = {**model.arguments(), **_trained(asked.weights[-1].parent)}
        return model
    changed = {} if asked.epochs is None else {"epochs": asked.epochs}
    return recipe.train(
        data,
        asked.out,
        resume=asked.resume,
        device=asked.device,
        devices=asked.devices,
        listener=_Lines(),
        **changed,
    )


def _trained(folder: Path) -> dict[str, Any]:
    """How the state beside some weights says that they were trained; nothing without one."""
    try:
        state = json.loads((folder / STATE_JSON).read_text())
    except OSError:
        return {}
    told = state["configuration"]
    return {**told["model"], "plan": told["plan"], "best": state["best"]}


class _Lines:
    """Progress as one JSON line, every hundred steps."""

    def __init__(self) -> None:
        self._next = 0

    def __call__(self, progress: Progress) -> None:
        if progress.done >= self._next or progress.done == progress.total:
            self._next = progress.done + 100
            figures = {name: round(value, 5) for name, value in progress.metrics.items()}
            line = {"done": progress.done, "total": progress.total, **figures}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
