"""What several forms ask alike: what a scene's numbers mean, the model, the device."""

from .parameters import Choice, File, Folder, Number, Raster, Text

BANDS = Text(
    "BANDS",
    "Names of the bands, in order",
    "--bands",
    help="Such as B02,B03,B04,B08, where the file does not name them.",
    optional=True,
    advanced=True,
)
ENCODING = (
    BANDS,
    Number(
        "SCALE",
        "Reflectance of one stored step",
        "--scale",
        help="Such as 0.0001, where the file does not say.",
        advanced=True,
    ),
    Number(
        "OFFSET",
        "Added to stored numbers before scaling",
        "--offset",
        help="-1000 since Sentinel-2's baseline 04.00, where the file does not say.",
        advanced=True,
    ),
    Choice(
        "LEVEL",
        "Product level",
        "--level",
        words=["from the file", "L1C", "L2A"],
        default="from the file",
        silent=["from the file"],
        advanced=True,
    ),
)
SENSOR = File(
    "SENSOR",
    "File that says what the numbers mean",
    "--sensor",
    help="A TOML file; see the formats page of geodecloud.",
    filter="TOML (*.toml)",
    optional=True,
    advanced=True,
)
DEVICE = Choice(
    "DEVICE",
    "Device",
    "--device",
    help="Where the model runs; auto takes a GPU that geodecloud can use.",
    words=["auto", "cpu", "cuda"],
    default="auto",
    advanced=True,
)


def scene(title, **details):
    """Return the question for the scene that is worked on."""
    return Raster("INPUT", title, "", **details)


def model(text="The name of a model, its folder, or its .dlpk.", default=None):
    """Return the questions for a model: by name, or by its folder, which wins."""
    return (
        Text("MODEL", "Model", "--model", help=text, default=default, optional=True),
        Folder(
            "MODEL_FOLDER",
            "Model from a folder",
            "--model",
            help="A folder with model.json, such as Train model writes; it wins over the name.",
            optional=True,
        ),
    )


CLEARING_MODEL = model(
    "auto takes the first that suits the scene; fill draws on from the clear pixels around; else "
    "a model's name, such as decloud-s2-4band, its folder, or its .dlpk.",
    default="auto",
)
