"""Models trained, and measured."""

import json
from pathlib import Path

from qgis.core import QgsProcessingException

from .algorithm import Algorithm
from .parameters import (
    Choice,
    File,
    FileOutput,
    Folder,
    FolderOutput,
    Number,
    Switch,
    Text,
)
from .scene import DEVICE, model

GROUP = "Models"
FITTING = "the one that fits"


class TrainModel(Algorithm):
    """train: a model from a folder of chips or scenes."""

    ID, TITLE, GROUP, COMMAND = "trainmodel", "Train model", GROUP, ("train",)
    ABOUT = (
        "Trains a model on a folder of chips or scenes: clear ones, which are clouded while they "
        "are learnt from, or pairs. Losses are told as they fall. A training that was stopped "
        "goes on with Resume. It needs geodecloud[learn], and hours without a GPU."
    )
    PARAMETERS = (
        Folder("INPUT", "Folder of training data", "",
               help="Clear scenes or chips; or pairs: images and images2, or train_a and train_b."),
        Text("RECIPE", "Recipe", "--recipe", optional=True,
             help="A name, such as decloud-s2-4band, or a TOML file; else what fits the data."),
        Choice("DATASET_TYPE", "What the data are for", "--dataset-type", silent=[FITTING],
               words=[FITTING, "CloudRemoval", "CloudMask", "Pix2Pix", "WNet_cGAN", "CycleGAN",
                      "Colorize", "GAN"], default=FITTING),
        Number("EPOCHS", "Rounds over the data", "--epochs", whole=True, low=1),
        Number("BATCH_SIZE", "Chips in a batch", "--batch-size", whole=True, low=2, advanced=True),
        Number("CHIP_SIZE", "Side of the training chips (pixels)", "--chip-size", whole=True,
               low=8, advanced=True),
        Number("LR", "Highest learning rate", "--lr", low=0, advanced=True,
               help="Looked for where it is empty."),
        Text("BACKBONE", "Encoder of a U-Net", "--backbone", optional=True, advanced=True,
             help="Such as resnet34."),
        Number("VAL_SPLIT", "Part of the places held out", "--val-split", low=0, high=1,
               advanced=True),
        Text("BANDS", "Bands, in order", "--bands", optional=True, advanced=True,
             help="Such as B02,B03,B04,B08."),
        Number("SEED", "Seed", "--seed", whole=True, low=0, advanced=True),
        DEVICE,
        Switch("EARLY_STOPPING", "End after 5 rounds without a better one", "--early-stopping",
               advanced=True),
        Switch("RESUME", "Resume where a stopped training was", "--resume"),
        FolderOutput("OUTPUT", "Folder of the model", "--out", new=True),
    )  # fmt: skip

    def words(self, asked):
        """Return the words; a folder that holds anything is refused before hours are spent."""
        words = super().words(asked)
        folder = Path(asked.paths["OUTPUT"])
        if folder.exists():
            raise QgsProcessingException(
                f"{folder} holds something already; a model gets a new folder: choose another"
            )
        return words


class Evaluate(Algorithm):
    """evaluate: figures by region, beside naive answers."""

    ID, TITLE, GROUP, COMMAND = "evaluate", "Evaluate model", GROUP, ("evaluate",)
    ABOUT = (
        "Measures a model on data with a known truth: PSNR, SSIM, SAM and MAE by region, beside "
        "naive answers. Data that a model has learnt from flatter it. It needs geodecloud[learn]."
    )
    PARAMETERS = (
        Folder("INPUT", "Folder of data", "",
               help="Clear scenes or chips, which are clouded; or pairs."),
        *model(default="decloud-s2-4band"),
        Number("SKIES", "Synthetic skies a window", "--skies", default=1, whole=True, low=1),
        Number("LIMIT", "Windows at most", "--limit", whole=True, low=1, advanced=True),
        File("SPLITS", "Table of places and folds", "--splits", optional=True, advanced=True),
        Number("FOLD", "Only this fold", "--fold", whole=True, low=0, advanced=True),
        DEVICE,
        FileOutput("OUTPUT", "Figures", None, filter="JSON (*.json)", optional=True),
    )  # fmt: skip
    FIGURES = (("WINDOWS", "n_windows", "Number of windows"),)

    def finish(self, asked, result):
        """Write the figures, where a file is asked for."""
        made = super().finish(asked, result)
        if "OUTPUT" in made:
            kept = {name: of for name, of in result.items() if name not in ("event", "summary")}
            Path(made["OUTPUT"]).write_text(json.dumps(kept, indent=2), encoding="utf-8")
        return made
