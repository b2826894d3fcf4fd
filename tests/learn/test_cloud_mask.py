"""CloudMask learns what is cloud and shadow from skies and pairs, and becomes a detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from geodecloud.cli.main import root
from geodecloud.cli.progress import Reporter
from geodecloud.errors import DataError, OptionError
from geodecloud.geo.classing import write_classes
from geodecloud.geo.scene import ArrayScene, ArraySink
from geodecloud.geo.sensors import SENSORS
from geodecloud.learn.classification import Classification
from geodecloud.learn.cloud_mask import CloudMask, as_pictures
from geodecloud.learn.cutting import CLEAR, SHADOW, THICK, THIN
from geodecloud.learn.data import ChipData
from geodecloud.learn.generators import FoldedUNet
from geodecloud.learn.mask_batches import (
    MaskBatches,
    snowed,
    told_clearly,
    varied_ground,
)
from geodecloud.learn.pack_writer import PackWriter
from geodecloud.learn.packed import PackedChips, Side
from geodecloud.run.network import NetworkDetector
from tests.learn.conftest import BANDS, data_of

CPU = torch.device("cpu")
QUICK = {"device": "cpu", "checkpoint": False, "lr": 1e-2}


def invoke(*arguments: object) -> str:
    told = [str(argument) for argument in arguments]
    result = CliRunner().invoke(root, told, obj=Reporter())
    assert result.exit_code == 0, result.output
    return result.output


def everyone(packed: PackedChips) -> np.ndarray:
    return np.arange(len(packed))


@pytest.fixture(scope="module")
def dealer(paired_chips: PackedChips) -> MaskBatches:
    return MaskBatches(paired_chips, everyone(paired_chips), chip_size=128, batch_size=8)


def test_a_sky_says_the_class_of_what_it_changed(dealer: MaskBatches) -> None:
    windows = dealer.whole(np.arange(8), 1, CPU)
    changed = (windows["pixels"] != windows["target"]).any(1, keepdim=True)
    assert torch.equal(changed, windows["classes"] != CLEAR)
    assert {CLEAR, THICK, SHADOW} <= set(windows["classes"].unique().tolist())


def test_what_is_hardly_cloud_counts_for_nothing(dealer: MaskBatches) -> None:
    windows = dealer.whole(np.arange(8), 1, CPU)
    seen = (windows["pixels"] - windows["target"]).abs().amax(1, keepdim=True)
    unsure = windows["weight"] == 0
    assert unsure.any()
    assert (windows["classes"][unsure] != CLEAR).all()
    assert seen[unsure].mean() < 0.5 * seen[(windows["classes"] != CLEAR) & ~unsure].mean()


def test_pairs_come_up_among_the_skies_and_some_windows_have_none(dealer: MaskBatches) -> None:
    batches = [dealer.at(step, CPU) for step in range(4)]
    is_real = torch.cat([batch["synthetic"] for batch in batches]) == 0
    is_bare = torch.cat([(b["classes"] == CLEAR).flatten(1).all(1) for b in batches])
    assert 0 < is_real.sum() < 16
    assert 0 < is_bare.sum() < 16


def test_a_pair_counts_where_its_sides_tell_the_class(paired_chips: PackedChips) -> None:
    (pair, *_) = MaskBatches(paired_chips, everyone(paired_chips)).pairs(CPU)
    sure = pair["weight"][0, 0] > 0
    assert (pair["classes"][0, 0, :64] == THICK).all()
    assert sure[:60].all()
    assert not sure[62:66].any()  # the rim, which was added to the cloud by hand
    dark = pair["target"][0, 3] < 0.12
    assert not sure[66:][dark[66:]].any()
    assert sure[66:][~dark[66:]].all()


def test_a_season_is_no_shadow_for_sure() -> None:
    target = torch.full((1, 4, 16, 96), 0.3)
    pixels, classes = target.clone(), torch.full((1, 1, 16, 96), CLEAR)
    pixels[:, 3, :, :10] *= 0.7  # crops were harvested
    pixels[..., 84:] *= 0.3  # a cloud's shadow
    classes[..., 84:] = SHADOW
    sure = told_clearly(pixels, target, classes, torch.ones(1, 1, 16, 96, dtype=torch.bool))
    assert not sure[..., :8].any()
    assert sure[..., 13:80].all()
    assert not sure[..., 83:85].any()
    assert sure[..., 88:].all()


def test_surface_reflectance_is_seen_from_space_too() -> None:
    ground, level = torch.full((64, 4, 4, 4), 0.1), torch.full((64,), -1.0)
    random = torch.Generator().manual_seed(0)
    seen, levels = varied_ground(ground, level, BANDS, random)
    lifted, kept = seen[levels == 1].mean((0, 2, 3)), seen[levels == -1].mean((0, 2, 3))
    assert 16 < (levels == 1).sum() < 48
    added = (lifted - kept).tolist()
    assert added[0] > added[1] > added[2]
    assert added[0] > 0.03


def test_snow_lies_on_open_ground_alone() -> None:
    field, wood = torch.tensor([0.1, 0.12, 0.15, 0.2]), torch.tensor([0.03, 0.05, 0.03, 0.35])
    ground = torch.stack([field, wood], 1).view(1, 4, 1, 2)
    nm = torch.tensor([490.0, 560.0, 665.0, 842.0])[:, None, None]
    snow = snowed(ground, nm)
    assert (snow[..., 0] > 0.6).all()
    assert torch.equal(snow[..., 1], ground[..., 1])


def test_either_kind_of_cloud_speaks_for_both() -> None:
    votes = torch.log(torch.tensor([0.4, 0.35, 0.25, 0.0001])).view(1, 4, 1, 1)

    def generator(n_in: int, n_out: int) -> torch.nn.Module:
        class Fixed(torch.nn.Module):
            def forward(self, encoded: torch.Tensor) -> torch.Tensor:
                return votes.expand(1, n_out, *encoded.shape[-2:])

        return Fixed()

    network = Classification(generator, (0.0,) * 4, (0.5,) * 4)
    scores = network(torch.zeros(1, 4, 2, 2), torch.zeros(1))
    assert (network.logits(torch.zeros(1, 4, 2, 2), torch.zeros(1)).argmax(1) == CLEAR).all()
    assert (scores.argmax(1) == THIN).all()


def test_a_picture_has_steps_and_an_end_and_no_level() -> None:
    pixels = torch.rand(40, 3, 8, 8)
    level = torch.ones(40)
    assert as_pictures(pixels, level, 0.0)[0] is pixels
    shown, levels = as_pictures(pixels, level, 0.5)
    is_picture = levels == 0
    assert 5 < is_picture.sum() < 35
    assert torch.equal(shown[~is_picture], pixels[~is_picture])
    assert shown[is_picture].max() <= 0.36
    steps = [len(chip.unique()) for chip in shown[is_picture]]
    assert max(steps) <= 256


def test_folding_pixels_loses_none() -> None:
    network = FoldedUNet(3, 2, widths=(4, 8))
    encoded = torch.randn(1, 3, 8, 8, requires_grad=True)
    network(encoded).square().sum().backward()
    assert (encoded.grad != 0).all()
    assert network.stride_px == 4


def clouded_set(folder: Path) -> PackedChips:
    """Green land with a white disc on each clear window of 64 px, which is a roof, not a cloud."""
    random = np.random.default_rng(3)
    rows, cols = np.indices((64, 64))
    with PackWriter(folder / "c.safetensors", 64, {"target": Side(BANDS)}) as writer:
        for i in range(8):
            land = np.array([0.04, 0.07, 0.04, 0.35])[:, None, None]
            land = (land * random.uniform(0.8, 1.2, (4, 64, 64))).astype(np.float32)
            row, col = random.integers(10, 54, 2)
            land[:, (rows - row) ** 2 + (cols - col) ** 2 < 9] = 0.4
            writer.add({"target": (land, land > 0)}, place=f"{i}", level="L2A", fold=i % 4)
    return PackedChips(folder / "c.safetensors")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> CloudMask:
    packed = clouded_set(tmp_path_factory.mktemp("clouded"))
    data = ChipData(packed, "CloudMask", np.arange(6), np.arange(6, 8), chip_size=64, batch_size=6)
    model = CloudMask(data, widths=(8, 16))
    model.fit(2, **QUICK, steps_per_epoch=8)
    return model


def test_it_learns_from_generated_chips_within_seconds(trained: CloudMask) -> None:
    rows = trained.history.rows
    assert rows[-1]["class_loss"] < 0.95 * rows[0]["class_loss"]
    figures = trained.compute_metrics()["skies"]
    assert figures["cloud_f1"] > 0.5
    assert 0 <= figures["shadow_recall"] <= 1


def test_saved_it_is_a_detector_whose_windows_agree_with_the_whole(
    trained: CloudMask, tmp_path: Path
) -> None:
    detector = NetworkDetector.open(trained.save(tmp_path / "sky", compute_metrics=False))
    window = trained.data.batches.whole(np.array([7]), 3, CPU)
    dn = np.rint(window["pixels"][0].numpy() * 1e4).astype(np.uint16)
    dn = np.tile(dn, (1, 2, 2))[:, :120, :101]
    scene = ArrayScene(dn, SENSORS["sentinel-2-l2a"].select(BANDS))
    prepared = detector.prepare(scene)
    found = []
    for size_px in (48, 1536):
        with pytest.MonkeyPatch.context() as patch, ArraySink(1, (120, 101), np.uint8) as sink:
            patch.setattr("geodecloud.geo.classing.DETECTION_TILE_PX", size_px)
            write_classes(scene, prepared, sink)
        found.append(sink.dn)
    assert np.array_equal(*found)
    assert len(np.unique(found[0])) > 1
    assert detector.bands == BANDS


def test_a_network_of_three_bands_learns_beside_one_of_four(
    trained: CloudMask, tmp_path: Path
) -> None:
    model = CloudMask(trained.data, bands=("B02", "B03", "B04"), widths=(8, 16))
    model.fit(1, **QUICK, steps_per_epoch=1)
    package = model.save(tmp_path / "colours", compute_metrics=False)
    detector = NetworkDetector.open(package)
    assert detector.bands == ("B02", "B03", "B04")
    picture = ArrayScene(
        np.random.default_rng(0).integers(1, 255, (3, 64, 64)).astype(np.uint8), SENSORS["rgb"]
    )
    prepared = detector.prepare(picture)
    assert prepared.bands == ("blue", "green", "red")
    assert 0 < prepared.gain < 1
    with ArraySink(1, (64, 64), np.uint8) as sink:
        write_classes(picture, prepared, sink)


def test_what_makes_no_sense_is_one_clear_error(chips: PackedChips, tmp_path: Path) -> None:
    data = data_of(chips, "CloudMask")
    with pytest.raises(OptionError, match="clear, thin, thick, shadow"):
        CloudMask(data, class_weights=(1, 2))
    with pytest.raises(OptionError, match="no band B11"):
        CloudMask(data, bands=("B02", "B11"))
    with pytest.raises(OptionError, match="multiples of 16"):
        CloudMask(ChipData(chips, "CloudMask", np.arange(6), np.arange(6, 12), chip_size=40))
    colours = tmp_path / "colours.safetensors"
    with PackWriter(colours, 16, {"target": Side(("B02", "B03", "B04"))}) as writer:
        for i in range(4):
            values = np.full((3, 16, 16), 0.1, np.float32)
            writer.add({"target": (values, values > 0)}, place=str(i))
    with pytest.raises(DataError, match="no set of type CloudMask"):
        ChipData(PackedChips(colours), "CloudMask", np.arange(2), np.arange(2, 4), chip_size=16)


def test_the_command_trains_a_mask_that_the_command_takes(
    chips: PackedChips, tmp_path: Path
) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(
        '[data]\ndataset_type = "CloudMask"\nchip_size = 64\nbatch_size = 4\n'
        '[model]\nsystem = "CloudMask"\nwidths = [4, 8]\n'
        "[training]\nepochs = 1\nsteps_per_epoch = 2\n"
    )
    out = tmp_path / "sky"
    said = invoke("train", chips.path, "--recipe", recipe, "--out", out, "--device", "cpu")
    assert "cloud_f1" in said
    assert (out.with_name("sky.training") / "results.png").exists()
    assert "generated" not in (out / "README.md").read_text().lower()
    assert "shadow_recall" in invoke("evaluate", chips.path, "--model", out)
