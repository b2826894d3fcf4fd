"""pack, train and evaluate as their users run them."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import pytest

from geodecloud.cli.figures import table
from geodecloud.cli.main import main, root
from geodecloud.cli.progress import Reporter, in_words
from geodecloud.errors import GeodecloudError, ModelError, OptionError, OutputError, TrainingError
from geodecloud.learn.pack_writer import PackWriter
from geodecloud.learn.packed import Side
from geodecloud.progress import Progress

BANDS = ("B02", "B03", "B04")
SIZE_PX = 32
N_SAMPLES = 8
TRAIN = ("--epochs", 2, "--batch-size", 4, "--lr", 1e-3, "--val-split", 0.25, "--device", "cpu")


def run(*arguments, mode: str = "none") -> None:
    reporter = Reporter()
    reporter.set_mode(mode)
    words = [str(argument) for argument in arguments]
    root.main([*words, "--progress", mode], standalone_mode=False, obj=reporter)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed pairs: the target is the source, a third darker."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.safetensors"
    random = np.random.default_rng(3)
    side = Side(BANDS, "reflectance", "sentinel-2-l2a")
    with PackWriter(path, SIZE_PX, {"source": side, "target": side}) as writer:
        for i in range(N_SAMPLES):
            coarse = random.uniform(0.05, 0.4, (len(BANDS), 8, 8))
            source = np.kron(coarse, np.ones((4, 4))).astype(np.float32)
            valid = np.ones(source.shape, bool)
            chip = {"source": (source, valid), "target": (source * np.float32(2 / 3), valid)}
            writer.add(chip, place=f"place {i % 4}", level="L2A", fold=i % 4)
    return path


@pytest.fixture(scope="module")
def trained(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that the command line trained, its states beside it."""
    out = tmp_path_factory.mktemp("trained") / "darker"
    run("train", pairs, "--out", out, *TRAIN)
    return out


@pytest.mark.slow
def test_train_takes_the_model_that_fits_and_draws_its_plots(trained: Path) -> None:
    card = json.loads((trained / "model.json").read_text())
    assert card["system"] == "Pix2Pix"
    assert card["training"]["dataset_type"] == "Pix2Pix"
    assert card["training"]["plan"]["epochs"] == 2
    states = trained.with_name("darker.training")
    for name in ("losses.png", "results.png"):
        assert (states / name).read_bytes().startswith(b"\x89PNG")
    assert json.loads((states / "state.json").read_text())["status"] == "finished"


@pytest.mark.slow
def test_programs_hear_losses_and_where_everything_lies(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("train", pairs, "--out", tmp_path / "m", *TRAIN, "--model", "Pix2Pix", mode="json")
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0]["event"] == "start"
    told = [event["metrics"] for event in events if event["event"] == "progress"]
    assert {"l1_loss", "valid_loss", "chips_per_second", "epoch"} <= set(told[-1])
    result = events[-1]
    assert result["event"] == "result"
    assert all(Path(plot).exists() for plot in result["plots"])
    assert result["metrics"]["whole"]["psnr"] > 0


@pytest.mark.slow
def test_evaluate_shows_the_network_beside_naive_answers(
    trained: Path, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("evaluate", "--model", trained, pairs, "--json", "--device", "cpu")
    found = json.loads(capsys.readouterr().out)
    assert (found["n_windows"], found["data_range"], found["unit"]) == (8, 1.0, "reflectance")
    whole = found["regions"]["whole"]
    for figure in ("psnr", "ssim", "sam", "mae"):
        assert {figure, f"{figure}_identity"} <= set(whole)
    assert whole["values"] == N_SAMPLES * len(BANDS) * SIZE_PX**2
    run("evaluate", "--model", trained, pairs, "--fold", 1, "--device", "cpu")
    text = capsys.readouterr().out
    assert "PSNR dB" in text
    assert "2 windows, data range 1 (reflectance)" in text


@pytest.mark.slow
def test_evaluate_refuses_bands_and_weights_that_do_not_fit(
    trained: Path, pairs: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.safetensors"
    side = Side(("B08",), "reflectance", "sentinel-2-l2a")
    with PackWriter(other, SIZE_PX, {"source": side, "target": side}) as writer:
        chip = np.full((1, SIZE_PX, SIZE_PX), 0.2, np.float32), np.ones((1, SIZE_PX, SIZE_PX), bool)
        writer.add({"source": chip, "target": chip}, place="a", level="L2A", fold=0)
    with pytest.raises(GeodecloudError, match=r"bands B08; wanted are B02, B03, B04"):
        run("evaluate", "--model", trained, other)
    other.write_bytes(b"no weights")
    with pytest.raises(ModelError, match="inception_v3"):
        run("evaluate", "--model", trained, pairs, "--feature-weights", other)


@pytest.mark.slow
def test_a_stopped_training_goes_on_with_the_same_rate(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "model"
    first = ("--epochs", 2, "--batch-size", 4, "--val-split", 0.25, "--device", "cpu")
    with monkeypatch.context() as patch:
        patch.setattr(Reporter, "__call__", _stop_after_the_first_epoch)
        with pytest.raises(click.Abort):
            run("train", pairs, "--out", out, *first, "--lr", 2e-3)
    states = out.with_name("model.training")
    assert json.loads((states / "state.json").read_text())["status"] == "stopped"
    run("train", pairs, "--out", out, *first, "--resume")
    about = json.loads((states / "state.json").read_text())
    assert about["status"] == "finished"
    assert len(about["rows"]) == 2


def _stop_after_the_first_epoch(_: Reporter, progress: Progress) -> None:
    if progress.message == "training" and progress.metrics["epoch"] == 1:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (("--recipe", "nonesuch"), OptionError, "recipe 'nonesuch'"),
        (("--model", "Nonesuch"), OptionError, "models are"),
        (("--model", "Pix2Pix", "--val-split", 2), OptionError, "share"),
        (("--dataset-type", "WNet_cGAN"), GeodecloudError, "WNet_cGAN"),
        (("--dataset-type", "CycleGAN", "--model", "Pix2Pix"), GeodecloudError, "CycleGAN"),
        (("--device", "cuda:7"), OptionError, "cuda:7"),
        (("--resume",), TrainingError, "holds no training state"),
    ],
)
def test_what_cannot_be_trained_leaves_nothing_behind(
    pairs: Path, tmp_path: Path, options, error, message: str
) -> None:
    if options == ("--device", "cuda:7") and _has_eight_gpus():
        pytest.skip("this device is here")
    with pytest.raises(error, match=message):
        run("train", pairs, "--out", tmp_path / "model", "--batch-size", 4, "--lr", 1e-3, *options)
    assert list(tmp_path.iterdir()) == []


def _has_eight_gpus() -> bool:
    import torch

    return torch.cuda.device_count() > 7


def test_data_that_is_not_there_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", str(tmp_path / "none"), "--out", str(tmp_path / "model")]
    monkeypatch.setattr("sys.argv", ["geodecloud", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_there_is_not_replaced_unasked(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(OutputError, match="--overwrite"):
        run("train", pairs, "--out", tmp_path / "model")


def test_a_folder_that_is_no_model_is_refused_before_anything_is_learnt(
    pairs: Path, tmp_path: Path
) -> None:
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "me.jpg").touch()
    with pytest.raises(OutputError, match="is no model"):
        run("train", pairs, "--out", tmp_path / "photographs", "--overwrite")
    assert [path.name for path in tmp_path.iterdir()] == ["photographs"]
    assert (tmp_path / "photographs" / "me.jpg").exists()


def test_a_run_that_diverges_says_so_and_exits_1(
    pairs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--epochs", "2", "--batch-size", "4", "--lr", "1e30", "--val-split", "0.25"]
    arguments = ["train", str(pairs), "--out", str(tmp_path / "model"), *options]
    monkeypatch.setattr("sys.argv", ["geodecloud", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "the run diverged" in capsys.readouterr().err
    about = json.loads((tmp_path / "model.training" / "state.json").read_text())
    assert about["status"] == "diverged"
    assert not (tmp_path / "model").exists()


def test_a_table_has_a_row_for_each_region_and_a_column_for_each_answer() -> None:
    regions = {
        "thin": {"psnr": 31.234, "psnr_fill": 30.0, "mae": 0.01},
        "pairs_thin": {"psnr": 25.0, "mae": 0.02},
        "cycle_error": 0.125,
    }
    lines = table(regions, ("psnr", "mae", "sam"))
    assert lines == [
        "PSNR dB             model      fill",
        "thin                31.23     30.00",
        "pairs_thin          25.00         -",
        "MAE                 model",
        "thin              0.01000",
        "pairs_thin        0.02000",
        "cycle_error     0.125",
    ]


def test_bars_tell_what_is_done_when_it_ends_losses_and_speed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    reporter = Reporter()
    reporter.set_mode("rich")
    losses = {"epoch": 1.0, "l1_loss": 12.345, "gen_loss": 0.7, "D_loss": 0.6, "valid_loss": 9.5}
    reporter(Progress(5, 10, "training", {**losses, "chips_per_second": 210.2}))
    reporter.close({}, "done")
    shown = capsys.readouterr().err
    assert "training" in shown
    assert "50%" in shown
    assert "-:--:--" in shown  # when it ends: not known after a single report
    figures = "epoch 1  l1_loss 12.35  gen_loss 0.7  D_loss 0.6  valid_loss 9.5  210 chips/s"
    assert figures in shown
    assert in_words({"epoch": 2.0, "steps_per_second": 3.0}) == "epoch 2"
