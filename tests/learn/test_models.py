"""The face: fit, lr_find, metrics, figures, save, from_model, predict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from geodecloud.errors import DataError, ModelError, OptionError, OutputError, TrainingError
from geodecloud.learn.cloud_batches import CloudBatches
from geodecloud.learn.evaluate import valid_loss
from geodecloud.learn.models import MODELS, Pix2Pix, from_model
from geodecloud.learn.networks import GENERATORS
from geodecloud.run.onnx import OnnxTranslator
from geodecloud.run.package import open_package
from geodecloud.translator import Request
from tests.learn.conftest import BANDS, WIDTHS, data_of, small_model, unsettle

CPU = torch.device("cpu")


def test_a_fit_on_generated_chips_lowers_its_losses(data) -> None:
    model = small_model(data, gan_weight=0.1)
    untrained = valid_loss(model.answer, data.valid_dl)
    history = model.fit(epochs=3, lr=5e-3, steps_per_epoch=12, checkpoint=False)
    assert history.best["valid_loss"] < 0.98 * untrained
    assert {"l1_loss", "gen_loss", "D_loss", "valid_loss", "epoch"} == set(history.rows[-1])


def test_a_translation_of_pairs_learns_too(paired_data) -> None:
    model = small_model(paired_data, gan_weight=0)
    history = model.fit(epochs=3, lr=3e-3, steps_per_epoch=8, checkpoint=False)
    assert history.rows[-1]["l1_loss"] < history.rows[0]["l1_loss"]
    assert model.directions["forward"]["inputs"] == ("pixels",)


def test_without_an_adversary_there_is_one_phase_and_one_network(data) -> None:
    model = small_model(data, gan_weight=0)
    assert [phase.name for phase in model.phases] == ["generator"]
    assert set(model.networks) == {"forward"}
    model.fit(epochs=1, lr=1e-3, steps_per_epoch=1, checkpoint=False)


@pytest.mark.parametrize("gan_loss", ["bce", "lsgan"])
def test_every_adversarial_loss_trains(data, gan_loss: str) -> None:
    model = small_model(data, gan_loss=gan_loss)
    history = model.fit(epochs=1, lr=1e-3, steps_per_epoch=2, checkpoint=False)
    assert np.isfinite(list(history.rows[0].values())).all()


def test_the_seed_decides_the_first_weights(data) -> None:
    one, same, other = (small_model(data, seed=seed) for seed in (1, 1, 2))
    weight = "generator.down.0.0.weight"
    assert torch.equal(
        one.networks["forward"].state_dict()[weight], same.networks["forward"].state_dict()[weight]
    )
    assert not torch.equal(
        one.networks["forward"].state_dict()[weight], other.networks["forward"].state_dict()[weight]
    )


def test_the_untrained_model_equals_the_fill_in_every_figure(data) -> None:
    figures = small_model(data).compute_metrics()
    assert "masked" in figures
    assert all(region["psnr"] == region["psnr_fill"] for region in figures.values())
    assert all(type(value) is float for region in figures.values() for value in region.values())


def test_lr_find_returns_a_rate_and_leaves_the_weights(data) -> None:
    model = small_model(data, gan_weight=0)
    before = {k: v.clone() for k, v in model.networks["forward"].state_dict().items()}
    rate = model.lr_find(allow_plot=False, start_lr=1e-5, end_lr=1e-1)
    assert 1e-5 <= rate <= 1e-1
    after = model.networks["forward"].state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_figures_are_drawn(data) -> None:
    model = small_model(data, gan_weight=0)
    model.fit(epochs=2, lr=1e-3, steps_per_epoch=1, checkpoint=False)
    assert len(model.plot_losses().axes) == 1
    assert len(model.show_results(rows=2).axes) == 6
    assert len(data.show_batch(rows=2).axes) == 8


def test_losses_cannot_be_plotted_before_there_are_some(data) -> None:
    with pytest.raises(TrainingError, match="call fit first"):
        small_model(data).plot_losses()


def test_states_are_kept_beside_the_data_and_found_again(data, tmp_path: Path) -> None:
    data.working_dir = tmp_path
    small_model(data).fit(epochs=1, lr=1e-3, steps_per_epoch=2)
    assert (tmp_path / "training" / "state.json").exists()
    again = small_model(data)
    again.fit(epochs=1, lr=1e-3, steps_per_epoch=2, resume=True)
    assert again.history.status == "finished"


def test_a_saved_model_and_the_loaded_one_answer_alike(data, package_folder: Path) -> None:
    model = from_model(package_folder, data)
    again = from_model(package_folder)
    batch = CloudBatches(data.packed, data.valid, chip_size=128).whole(data.valid[:1], 0, CPU)
    assert torch.equal(model.answer(batch), again.answer(batch))
    original = small_model(data)
    unsettle(original)
    difference = (original.answer(batch) - again.answer(batch)).abs().max()
    assert 0 < difference < 0.01  # half-precision weights


def test_a_loaded_model_trains_on(data, package_folder: Path) -> None:
    model = from_model(package_folder, data)
    model.fit(epochs=1, lr=1e-4, steps_per_epoch=1, checkpoint=False)


def test_load_takes_the_weights_of_a_package(data, package_folder: Path) -> None:
    model = small_model(data)
    model.load(package_folder)
    loaded = from_model(package_folder).networks["forward"].state_dict()
    mine = model.networks["forward"].state_dict()
    assert all(torch.equal(mine[name], tensor) for name, tensor in loaded.items())


def test_the_card_says_how_the_model_was_made(package_folder: Path) -> None:
    card = open_package(package_folder).card
    way = card.directions[0]
    assert (card.system, card.task, card.name) == ("Pix2Pix", "cloud-removal", "small")
    assert way.bands_in == way.bands_out == BANDS
    assert (way.stride_px, way.network.arguments) == (2, {"widths": WIDTHS})
    assert way.inputs == ("pixels", "mask", "fill", "level")
    assert {"geodecloud", "torch"} <= set(card.versions)


def test_a_bare_name_is_saved_under_the_working_folder(data, tmp_path: Path) -> None:
    data.working_dir = tmp_path
    with pytest.raises(OptionError, match="save_optimizer"):
        small_model(data).save("mine", save_optimizer=True)
    with pytest.raises(OptionError, match="framework"):
        small_model(data).save("mine", framework="TensorFlow")


def test_a_folder_that_exists_is_not_overwritten_unasked(data, package_folder: Path) -> None:
    with pytest.raises(OutputError, match="exists"):
        small_model(data).save(package_folder, compute_metrics=False)


def test_a_folder_of_any_name_holds_a_model(data, tmp_path: Path) -> None:
    folder = small_model(data).save(tmp_path / "Modèle de l'été", compute_metrics=False)
    assert open_package(folder).card.name == "mod-le-de-l-t"


def test_overwrite_replaces_a_model_and_no_other_folder(data, tmp_path: Path) -> None:
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    (photographs / "me.jpg").touch()
    with pytest.raises(OutputError, match="no model"):
        small_model(data).save(photographs, compute_metrics=False, overwrite=True)
    assert (photographs / "me.jpg").exists()


def test_predict_takes_any_size_and_leaves_unmasked_pixels_alone(package_folder: Path) -> None:
    model = from_model(package_folder)
    pixels = np.random.default_rng(0).uniform(0, 0.5, (4, 33, 41)).astype(np.float32)
    mask = np.zeros((33, 41), bool)
    mask[5:20, 5:20] = True
    answer = model.predict(pixels, mask=mask, level="L2A")
    assert answer.shape == pixels.shape
    assert np.array_equal(answer[:, ~mask], pixels[:, ~mask])
    assert not np.array_equal(answer[:, mask], pixels[:, mask])
    batch = model.predict(np.stack([pixels, pixels]), mask=mask, level="L2A")
    assert np.abs(batch[1] - answer).max() < 1e-5


@pytest.mark.parametrize("pixels", [np.zeros((4, 4)), np.full((4, 8, 8), np.nan)])
def test_predict_refuses_what_is_no_image(package_folder: Path, pixels: np.ndarray) -> None:
    with pytest.raises(DataError, match="array of shape"):
        from_model(package_folder).predict(pixels)


def test_a_model_without_data_says_so_when_it_is_trained(package_folder: Path) -> None:
    with pytest.raises(DataError, match="the model has no data"):
        from_model(package_folder).fit(epochs=1, lr=1e-3)


def test_data_of_a_type_that_does_not_suit_is_refused(data) -> None:
    data.dataset_type = "CycleGAN"
    with pytest.raises(DataError, match="Pix2Pix trains on CloudRemoval, Pix2Pix"):
        Pix2Pix(data)


def test_a_package_of_an_unknown_system_is_refused(
    package_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geodecloud.learn.models.MODELS", {})
    with pytest.raises(ModelError, match="is a Pix2Pix"):
        from_model(package_folder)
    assert "Pix2Pix" in MODELS


def test_options_of_a_model_that_are_unknown_are_named(data) -> None:
    with pytest.raises(OptionError, match="gan_loss 'wgan'"):
        Pix2Pix(data, gan_loss="wgan")
    with pytest.raises(ModelError, match="network 'vnet' is unknown"):
        Pix2Pix(data, generator="vnet")


def test_a_perceptual_loss_compares_what_the_discriminator_sees(paired_data) -> None:
    model = small_model(paired_data, perceptual_loss=True, discriminator="resnet")
    batch = paired_data.batches.at(0, CPU)
    losses, _ = model.losses(model.phases[0], batch, {})
    assert set(losses) == {"l1_loss", "gen_loss", "perceptual_loss"}
    assert losses["perceptual_loss"] > 0
    assert model.arguments()["perceptual_weight"] == 10
    assert "perceptual_weight" not in small_model(paired_data).arguments()


def test_a_backbone_takes_the_place_of_the_generator(paired_data) -> None:
    model = Pix2Pix(paired_data, backbone="resnet18", depth=3, gan_weight=0)
    spec = model.directions["forward"]["network"]
    assert (spec["generator"], spec["arguments"]) == (
        "backbone",
        {"backbone": "resnet18", "depth": 3},
    )
    with pytest.raises(OptionError, match="nothing is downloaded"):
        Pix2Pix(paired_data, backbone="resnet18", depth=3, pretrained=True)
    with pytest.raises(OptionError, match="pretrained weights for generator unet"):
        small_model(paired_data, pretrained=True)


def test_the_strided_unet_is_fitted_to_the_chips_of_the_data(paired_data) -> None:
    model = Pix2Pix(paired_data, generator="unet_pix2pix", width=4, gan_weight=0)
    assert model.directions["forward"]["network"]["arguments"] == {"depth": 4, "width": 4}


def test_a_network_given_as_an_object_is_trained_and_runs_without_being_known(
    paired_data, tmp_path: Path
) -> None:
    network = torch.nn.Conv2d(4, 4, 3, padding=1)
    model = Pix2Pix(paired_data, generator=network, gan_weight=0)
    assert model.networks["forward"].generator is network
    folder = model.save(tmp_path / "mine", compute_metrics=False)
    pixels = np.random.default_rng(0).uniform(0, 0.5, (1, 4, 16, 16)).astype(np.float32)
    drawn = OnnxTranslator(open_package(folder), "cpu")(Request(pixels, pixels > -1)).pixels
    assert np.abs(drawn - model.predict(pixels)).max() < 0.01  # half-precision weights
    with pytest.raises(ModelError, match="network 'Conv2d' is unknown"):
        from_model(folder)


def test_colours_are_learnt_of_their_grey(chips) -> None:
    model = small_model(data_of(chips, "Colorize"), gan_weight=0)
    way = model.directions["forward"]
    assert (way["bands_in"], way["bands_out"]) == (("luma",), BANDS)
    batch = next(model.data.valid_batches(CPU))
    naive = model.naive(batch)
    assert torch.equal(naive["grey"], batch["pixels"].expand_as(batch["target"]))
    torch.testing.assert_close(model.answer(batch), naive["line"])  # untrained
    figures = model.compute_metrics()["whole"]
    assert figures["psnr"] == pytest.approx(figures["psnr_line"])
    assert figures["psnr_grey"] > 0
    history = model.fit(2, lr=1e-2, steps_per_epoch=6, device="cpu", checkpoint=False)
    assert history.rows[1]["l1_loss"] < history.rows[0]["l1_loss"]


def test_the_learning_rate_of_the_discriminator_is_a_part_of_the_generators(data) -> None:
    model = small_model(data, judge_lr_ratio=0.1)
    assert [phase.optimiser.lr_ratio for phase in model.phases] == [1.0, 0.1]


def test_a_real_pair_teaches_the_generator_but_not_the_discriminator(paired_chips) -> None:
    data = data_of(paired_chips)
    model = small_model(data)
    batch = next(iter(CloudBatches(paired_chips, data.train, chip_size=128).pairs(CPU)))
    losses, carried = model.losses(model.phases[0], batch, {})
    assert losses["l1_loss"] > 0
    assert losses["gen_loss"] == 0
    verdict, _ = model.losses(model.phases[1], batch, carried)
    assert verdict["D_loss"] == 0


def test_pretrained_weights_are_held_until_they_are_unfrozen(
    paired_data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = {"backbone": "resnet18", "depth": 3, "gan_weight": 0}
    encoder = GENERATORS["backbone"](3, 1, "resnet18").encoder
    save_file(encoder.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache", lambda _, name, **__: str(tmp_path / name)
    )
    model = Pix2Pix(paired_data, **backbone, pretrained=True)
    assert _moved_by_a_step(model) == {"encoder.conv1", "decoder", "head"}
    assert model.configuration()["n_held"] > 0
    model.unfreeze()
    assert _moved_by_a_step(model) == {"encoder.conv1", "encoder.layer1", "decoder", "head"}
    assert "n_held" not in model.configuration()


def _moved_by_a_step(model: Pix2Pix) -> set[str]:
    generator = model.networks["forward"].generator
    before = {name: weight.detach().clone() for name, weight in generator.named_parameters()}
    model.fit(1, lr=1e-2, steps_per_epoch=1, device="cpu", checkpoint=False, keep="last")
    parts = ("encoder.conv1", "encoder.layer1", "decoder", "head")
    return {
        next(part for part in parts if name.startswith(part))
        for name, weight in generator.named_parameters()
        if name.startswith(parts) and not torch.equal(weight, before[name])
    }


def test_every_supported_backbone_is_one_that_can_be_taken(paired_data) -> None:
    known = small_model(paired_data).supported_backbones
    assert {"resnet18", "resnet34"} <= set(known)
    Pix2Pix(paired_data, backbone=known[0], depth=3, gan_weight=0)
    with pytest.raises(OptionError, match="backbone 'resnet35'"):
        Pix2Pix(paired_data, backbone="resnet35")
