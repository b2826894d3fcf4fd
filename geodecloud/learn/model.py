"""Model: what every model can do, the face that someone who knows arcgis.learn expects."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from geodecloud.errors import DataError, ModelError, TrainingError
from geodecloud.learn import fitting, predicting
from geodecloud.learn.data import ChipData
from geodecloud.learn.directions import find_direction, whole_direction
from geodecloud.learn.evaluate import evaluate, valid_loss
from geodecloud.learn.naive import naive_answers
from geodecloud.learn.plan import Batch, Carried, History, Losses, LrSearch, Phase
from geodecloud.learn.state import copy_state, load_averages

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from geodecloud.learn.translator import TorchTranslator
    from geodecloud.run.package import Package

METRIC_SKIES = 4  # over each held-out window: one alone leaves figures to chance


class Model:
    """What every model can do; a subclass brings networks, phases and losses.

    A subclass is a ``System`` of ``learn.plan``: ``fit`` hands it to the training loop.

    Args:
        data: what it trains on; None for a model that is only used.

    Attributes:
        directions: for each direction, the fields of ``run.package.Direction``; the network of
            that name in ``networks`` translates.
        history: of the last ``fit``.
        search: of the last ``lr_find``.
        metrics: of the last ``compute_metrics``.
        training: how it was trained, kept in the package.
        taught_before: places that taught the package it started from.
    """

    dataset_types: ClassVar[tuple[str, ...]] = ()
    networks: dict[str, nn.Module]
    phases: Sequence[Phase]
    averaged: Sequence[str]
    directions: dict[str, dict[str, Any]]
    bounds: Mapping[str, tuple[float, float]] = MappingProxyType({})
    default_schedule: ClassVar[str] = "one_cycle"
    default_lr: ClassVar[float | None] = None  # None: fit looks for it

    def __init__(self, data: ChipData | None) -> None:
        """Check that the data suits the model."""
        if data is not None and data.dataset_type not in self.dataset_types:
            raise DataError(
                f"data of type {data.dataset_type}",
                f"{type(self).__name__} trains on {', '.join(self.dataset_types)}",
                "prepare the data with one of these dataset types",
            )
        self._data = data
        self.memory: dict[str, Tensor] = {}
        self.history: History | None = None
        self.search: LrSearch | None = None
        self._states: Path | None = None
        self.metrics: dict[str, Any] = {}
        self.training: dict[str, Any] = {}
        self.taught_before: tuple[str, ...] = ()

    def losses(self, phase: Phase, batch: Batch, carried: Carried) -> tuple[Losses, Carried]:
        """Return the losses of a phase; each subclass has its own."""
        raise NotImplementedError

    def arguments(self) -> dict[str, Any]:
        """Return what a resumed run must share of the model, in JSON's types."""
        raise NotImplementedError

    def configuration(self) -> dict[str, Any]:
        """Return what a resumed run must share with this one."""
        weights = [p for network in self.networks.values() for p in network.parameters()]
        n_held = sum(not weight.requires_grad for weight in weights)
        return {
            "system": type(self).__name__,
            "model": self.arguments(),
            "data": self.data.describe(),
            **({"n_held": n_held} if n_held else {}),
        }

    @property
    def data(self) -> ChipData:
        """What it trains on.

        Raises:
            DataError: it was made without data.
        """
        if self._data is None:
            raise DataError(
                "the model has no data", "training needs some", "pass data= when making the model"
            )
        return self._data

    @classmethod
    def from_model(cls, emd_path: str | Path, data: ChipData | None = None) -> Self:
        """Return the model of this class that a package holds, with ``data`` to train on.

        Args:
            emd_path: as ``geodecloud.from_model`` takes it, which makes a model of any class.
            data: what it is to train on.

        Raises:
            ModelError: there is none, it is damaged, or of another class.
        """
        make: Any = cls
        model: Self = make(data, pretrained_path=emd_path)
        return model

    lr_find = fitting.lr_find
    fit = fitting.fit

    def unfreeze(self) -> None:
        """Let every weight move: also those of a pretrained encoder, which begin held."""
        for network in self.networks.values():
            network.requires_grad_(True)

    @property
    def available_metrics(self) -> list[str]:
        """The columns of the training table: what ``fit`` takes as ``monitor``.

        Raises:
            DataError: the model has no data.
        """
        return fitting.table_columns(self)

    @property
    def supported_backbones(self) -> list[str]:
        """The encoders that can stand in a generator; none where it takes no picture in."""
        from geodecloud.learn.backbones import supported_backbones

        return supported_backbones()

    @property
    def supported_datasets(self) -> list[str]:
        """The types of data that it trains on."""
        return list(self.dataset_types)

    def on_epoch(self, out: Path | None, epoch: int) -> None:
        """Do what is to be done after each epoch, with the averages in the networks: nothing.

        ``out`` is the folder of the saved states, None where nothing is saved.
        """

    def plot_losses(self) -> Figure:
        """Return a figure of all losses by epoch, lowest and highest points marked.

        Raises:
            TrainingError: nothing was trained yet.
        """
        from geodecloud.learn.plots import plot_losses

        if self.history is None:
            raise TrainingError("no losses", "a model that was trained has them", "call fit first")
        return plot_losses(self.history.rows)

    def show_results(self, rows: int = 5, rgb_bands: Sequence[str] | None = None) -> Figure:
        """Return a figure of validation windows: input, target, prediction."""
        from geodecloud.learn.plots import show_results

        device = self._device
        batches = list(self.data.valid_batches(device, rows))
        answers = [self.answer(batch) for batch in batches]
        return show_results(batches, answers, self.data.packed.sides["target"].bands, rgb_bands)

    def compute_metrics(self, accuracy: bool = True, show_progress: bool = True) -> dict[str, Any]:
        """Return figures on the validation part: by region, this model beside the baselines.

        ``{"thick": {"psnr": ..., "psnr_fill": ..., "psnr_identity": ..., "mae": ...}, ...}``; PSNR
        is that of the mean squared error, for a data range of 1. Regions of real pairs have
        names of their own, ``pairs_thick``, and so have those of pictures, ``pictures_thick``,
        where the model trains on some.
        """
        del accuracy, show_progress  # of the face that this mirrors: there is one way here
        skies = evaluate(
            self.answer,
            self.data.valid_batches(self._device, skies=METRIC_SKIES),
            naive=self.naive,
        )
        further = {
            "pairs": self.data.valid_pairs(self._device),
            "pictures": self.data.valid_pictures(self._device, skies=METRIC_SKIES),
        }
        self.metrics = dict(skies)
        for kind, batches in further.items():
            found = evaluate(self.answer, batches, naive=self.naive)
            self.metrics |= {f"{kind}_{name}": value for name, value in found.items()}
        return self.metrics

    def answer(self, batch: Batch, direction: str | None = None) -> Tensor:
        """Return what the model answers to a batch, (B, C', H, W) in the target's unit."""
        name = find_direction(self.directions, direction)
        network = self.networks[name]
        was_training = network.training
        network.eval()
        with torch.inference_mode():
            inputs = (batch[field] for field in self.directions[name]["inputs"])
            answer: Tensor = network(*inputs)
        network.train(was_training)
        return answer

    def naive(self, batch: Batch, *, thorough: bool = False) -> dict[str, Tensor]:
        """Return what the model has to beat, by name; see ``learn.naive``."""
        return naive_answers(batch, thorough=thorough)

    def translator(self, direction: str | None = None, device: str = "auto") -> TorchTranslator:
        """Return a translator of the weights as they are now.

        Raises:
            ModelError: the model has no such direction.
        """
        from geodecloud.learn.translator import TorchTranslator
        from geodecloud.run.package import Direction

        name = find_direction(self.directions, direction)
        return TorchTranslator(
            copy.deepcopy(self.networks[name]),
            Direction.model_validate({"name": name, **self._way(name)}),
            type(self).__name__.lower(),
            task=self.directions[name]["task"],
            device=device,
        )

    predict = predicting.predict

    def export(
        self,
        path: str | Path,
        target: Literal["deepness"] = "deepness",
        *,
        direction: str | None = None,
        resolution_m: float | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write the model for another program and return the path of the file.

        Raises:
            ModelError: the program cannot run such a model.
            OutputError: the file exists, or cannot be written.
        """
        from geodecloud.learn.saving import export_model

        name = find_direction(self.directions, direction)
        return export_model(
            (self.networks[name], {"name": name, **self._way(name)}),
            Path(path), target, resolution_m, overwrite=overwrite,
        )  # fmt: skip

    def save(
        self,
        name_or_path: str | Path,
        framework: str = "PyTorch",
        compute_metrics: bool = True,
        save_optimizer: bool = False,
        *,
        dlpk: bool = False,
        mlm: bool = False,
        overwrite: bool = False,
        **card: Any,
    ) -> Path:
        """Write the model as a package and return its folder.

        Args:
            name_or_path: the folder; a bare name goes into ``<working_dir>/models``.
            framework: "PyTorch" or "ONNX"; a package always holds both.
            compute_metrics: figures on the validation part go onto the card.
            save_optimizer: the state of the training goes with it:
                ``fit(out=folder / "training", resume=True)`` goes on.
            dlpk: also write ``<name>.dlpk``, all of it in one file.
            mlm: also write a STAC item.
            overwrite: replace a folder that exists.
            **card: further fields of ``run.package.ModelCard``, such as ``summary``, ``licence``.

        Raises:
            OutputError: the folder exists.
        """
        from geodecloud.learn.saving import check_asked, save_model

        check_asked(framework, self._states if save_optimizer else Path())
        folder = Path(name_or_path)
        if folder.name == str(name_or_path) and self._data is not None:
            folder = (self._data.working_dir or Path()) / "models" / folder
        if compute_metrics and self._data is not None and self._data.holds_out:
            self.compute_metrics()
        also = [name for name, is_asked in (("dlpk", dlpk), ("mlm", mlm)) if is_asked]
        ways = {name: self._way(name) for name in self.directions}
        save_model(self, folder, ways, card, data=self._data, also=also, overwrite=overwrite)
        if save_optimizer and self._states is not None:
            copy_state(self._states, folder / "training")
        return folder

    def load(self, name_or_path: str | Path) -> None:
        """Take the weights of a package, or of the ``best.safetensors`` that a training leaves.

        Raises:
            ModelError: there is none, it is damaged, or it is of another model.
        """
        if Path(name_or_path).suffix == ".safetensors":
            load_averages([Path(name_or_path)], self.networks)
            return
        from geodecloud.learn.checkpoint import load_networks
        from geodecloud.run.package import open_package

        package = open_package(name_or_path)
        self._check_system(package)
        for name, network in load_networks(package).items():
            self.networks[name].load_state_dict(network.state_dict())

    @property
    def _device(self) -> torch.device:
        network = self.networks[next(iter(self.directions))]
        return next(network.parameters()).device

    def _check_system(self, package: Package) -> None:
        if package.card.system != type(self).__name__:
            raise ModelError(
                f"{package.folder} is a {package.card.system}",
                f"a {type(self).__name__} is needed",
                "use geodecloud.from_model, which makes the right one",
            )

    def _start_from(self, path: str | Path | Package) -> dict[str, nn.Module]:
        """The networks of a package by direction; what its card says is taken over."""
        from geodecloud.learn.checkpoint import load_networks
        from geodecloud.run.package import open_package

        package = open_package(path)
        self._check_system(package)
        if package.unread:
            unread = ", ".join(package.unread)
            warnings.warn(f"{package.folder}: never run, left unread: {unread}", stacklevel=2)
        self.directions = {
            way.name: {**way.model_dump(exclude={"name", "graph"}), "task": package.card.task}
            for way in package.card.directions
        }
        self.metrics, self.training = dict(package.card.metrics), dict(package.card.training)
        self.taught_before = tuple(self.training.get("data", {}).get("places", ()))
        return load_networks(package)

    def _way(self, name: str) -> dict[str, Any]:
        """The fields of a direction, its reach counted once."""
        return whole_direction(self.directions[name], self.networks[name])

    def _validate(self) -> dict[str, float]:
        device = self._device
        return {"valid_loss": valid_loss(self.answer, self.data.valid_batches(device, 64))}
