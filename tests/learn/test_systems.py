"""What every model must do, whatever it learns: train, repeat itself, be saved, and be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from geodecloud.errors import DataError, OptionError
from geodecloud.geo.fill import Fill
from geodecloud.geo.scene import ArrayMask, ArrayScene, ArraySink, shape_of
from geodecloud.geo.sensors import SENSORS
from geodecloud.geo.tiling import Window
from geodecloud.learn.cyclegan import CycleGAN
from geodecloud.learn.data import ChipData
from geodecloud.learn.model import Model
from geodecloud.learn.models import MODELS, from_model
from geodecloud.learn.packed import PackedChips
from geodecloud.learn.translator import TorchTranslator
from geodecloud.pipeline import Aids, Road, translate_scene
from geodecloud.run.onnx import OnnxTranslator
from geodecloud.run.package import open_package
from geodecloud.translator import Request
from tests.contracts import SMALL_MODELS, moved_by, train_statistics, weights_of
from tests.learn.conftest import data_of
from tests.strategies import make_scene

CPU = torch.device("cpu")
QUICK = {"device": "cpu", "checkpoint": False, "lr": 1e-2}
TRANSLATING = [name for name in MODELS if name != "GAN"]
DRAWING = [name for name in TRANSLATING if name != "CloudMask"]


MAIN_LOSS = {"CycleGAN": "cyc_loss", "GAN": "valid_loss", "CloudMask": "class_loss"}


def small(name: str, packed: PackedChips, **changed: object) -> Model:
    dataset_type, options = SMALL_MODELS[name]
    return MODELS[name](data_of(packed, dataset_type), **{**options, **changed})


@pytest.fixture(scope="module")
def saved(guided_chips: PackedChips, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A package of each model, with statistics as training leaves them."""
    folder = tmp_path_factory.mktemp("saved")
    found = {}
    for name in MODELS:
        model = small(name, guided_chips)
        for network in model.networks.values():
            train_statistics(network)
        for way in model.directions:  # a correction starts silent
            for parameter in model.networks[way].parameters():
                parameter.data += 0.02 * torch.randn(
                    parameter.shape, generator=torch.Generator().manual_seed(2)
                )
        found[name] = model.save(folder / name.lower(), compute_metrics=False)
    return found


def test_the_contract_knows_every_model() -> None:
    assert set(SMALL_MODELS) == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_learns_from_generated_chips_within_seconds(name, guided_chips) -> None:
    model = small(name, guided_chips)
    history = model.fit(3, **QUICK, steps_per_epoch=12)
    main = {"CycleGAN": "cyc_loss", "GAN": "valid_loss", "CloudMask": "class_loss"}.get(
        name, "l1_loss"
    )
    assert history.rows[-1][main] < 0.97 * history.rows[0][main]
    assert all(np.isfinite(list(row.values())).all() for row in history.rows)


@pytest.mark.parametrize("name", MODELS)
def test_each_phase_moves_its_own_networks_and_no_other(name, guided_chips) -> None:
    model = small(name, guided_chips)
    batch, carried = model.data.batches.at(0, CPU), {}
    for phase in model.phases:
        moved, carried = moved_by(model, phase, batch, carried)
        assert moved == set(phase.networks)


@pytest.mark.parametrize("name", MODELS)
def test_a_training_is_repeated_by_its_seed(name, guided_chips) -> None:
    rows = []
    for seed in (4, 4, 5):
        model = small(name, guided_chips, seed=seed)
        rows.append(model.fit(1, **QUICK, steps_per_epoch=1).rows)
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]


@pytest.mark.parametrize("name", MODELS)
def test_a_model_says_how_good_it_is_and_shows_it(name, guided_chips) -> None:
    model = small(name, guided_chips)
    assert model.compute_metrics() == model.metrics
    assert model.metrics
    assert model.show_results(rows=2).axes


@pytest.mark.parametrize("name", MODELS)
def test_what_can_be_monitored_is_what_the_table_shows(name, guided_chips) -> None:
    model = small(name, guided_chips)
    before = weights_of(model)
    metrics = model.available_metrics
    assert all(torch.equal(weight, before[key]) for key, weight in weights_of(model).items())
    assert model.memory == {}
    history = model.fit(1, **QUICK, steps_per_epoch=1, monitor=metrics[0])
    assert {*metrics, "epoch"} == set(history.rows[0])


@pytest.mark.parametrize("name", MODELS)
def test_data_of_another_type_than_the_supported_is_refused(name, guided_chips) -> None:
    supported = small(name, guided_chips).supported_datasets
    assert SMALL_MODELS[name][0] in supported
    unsuited = next(kind for kind in ("GAN", "CloudRemoval") if kind not in supported)
    with pytest.raises(DataError, match=f"{name} trains on {', '.join(supported)}"):
        MODELS[name](data_of(guided_chips, unsuited))


def test_a_model_that_draws_of_nothing_has_no_backbones(guided_chips) -> None:
    assert small("GAN", guided_chips).supported_backbones == []
    with_one = CycleGAN(data_of(guided_chips, "CycleGAN"), generator="backbone", depth=3)
    assert with_one.G_A.generator.backbone in with_one.supported_backbones


@pytest.mark.parametrize("name", MODELS)
def test_what_is_saved_is_what_is_loaded(name, saved, guided_chips) -> None:
    model = small(name, guided_chips, seed=9)
    model.load(saved[name])
    again = from_model(saved[name])
    assert set(again.directions) == set(model.directions)
    for way in again.directions:
        mine, theirs = (m.networks[way].state_dict() for m in (model, again))
        assert all(torch.equal(mine[key], tensor) for key, tensor in theirs.items())
        for key in ("inputs", "extras", "bands_in", "bands_out", "stride_px", "halo_px"):
            assert again._way(way)[key] == model._way(way).get(key, {}), key


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_trains_on(name, saved, guided_chips) -> None:
    dataset_type, _ = SMALL_MODELS[name]
    model = from_model(saved[name], data_of(guided_chips, dataset_type))
    before = weights_of(model)
    model.fit(1, **QUICK, steps_per_epoch=1)
    assert any(not torch.equal(tensor, before[key]) for key, tensor in weights_of(model).items())


@pytest.mark.parametrize("name", TRANSLATING)
def test_both_engines_give_the_same_answers(name, saved) -> None:
    package = open_package(saved[name])
    random = np.random.default_rng(1)
    pixels, fill = (random.uniform(0, 0.5, (2, 4, 32, 48)).astype(np.float32) for _ in range(2))
    radar = random.uniform(-25, -5, (2, 2, 32, 48)).astype(np.float32)
    mask = random.uniform(size=(2, 1, 32, 48)) > 0.5
    request = Request(pixels, np.ones(pixels.shape, bool), mask, fill, {"sar": radar}, level="L2A")
    for way in package.card.directions:
        answers = [
            engine(request).pixels
            for engine in (
                TorchTranslator.of(package, "cpu", direction=way.name),
                OnnxTranslator(package, "cpu", direction=way.name),
                from_model(saved[name]).translator(way.name, "cpu"),
            )
        ]
        assert answers[0].std() > 1e-3
        assert np.abs(answers[0] - answers[1]).max() < 1e-4
        assert np.array_equal(answers[0], answers[2])


@pytest.mark.parametrize("name", DRAWING)
def test_a_scene_is_translated_the_same_however_it_is_cut(name, saved) -> None:
    scene = make_scene((96, 80))
    shape = shape_of(scene.geobox)
    stored, _ = scene.read(Window.whole(shape))
    mask = np.zeros(shape, bool)
    mask[20:70, 10:60] = True
    radar = ArrayScene(
        np.random.default_rng(2).uniform(-25, -5, (2, *shape)).astype(np.float32),
        SENSORS["sentinel-1-rtc"],
        scene.geobox,
    )
    aids = Aids(ArrayMask(mask), Fill.build(scene, ArrayMask(mask)), {"sar": radar})
    model = from_model(saved[name])
    for way in model.directions:
        drawn = []
        for size_px in (32, 128):
            sink = ArraySink(4, shape, np.uint16)
            with sink:
                translate_scene(
                    scene, sink, model.translator(way, "cpu"), aids=aids, road=Road(size_px=size_px)
                )
            drawn.append(sink.dn.astype(int))
        assert np.abs(drawn[0] - drawn[1]).max() <= 1
        assert np.array_equal(drawn[0][:, ~mask], stored[:, ~mask])
        assert (drawn[0][:, mask] != stored[:, mask]).mean() > 0.5


def test_a_gan_translates_nothing(saved) -> None:
    with pytest.raises(OptionError, match="use generate"):
        from_model(saved["GAN"]).translator()


def test_windows_that_a_generator_cannot_halve_are_refused(guided_chips: PackedChips) -> None:
    data: ChipData = data_of(guided_chips, "Pix2Pix")
    data.chip_size = 20
    with pytest.raises(OptionError, match="chips of 20 px"):
        MODELS["Pix2Pix"](data, widths=(4, 4, 4, 4))
