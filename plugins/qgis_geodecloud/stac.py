"""Many scenes at once, out of a STAC catalog."""

from .algorithm import Algorithm
from .parameters import Choice, FolderOutput, Number, Polygons, Switch, Text
from .scene import model

GROUP = "Batch"


class BatchStac(Algorithm):
    """batch: clouds out of every scene that a search finds."""

    ID, TITLE, GROUP, COMMAND = "batchstac", "Batch from STAC", GROUP, ("batch",)
    ABOUT = (
        "Removes the clouds of every scene that a search in a STAC catalog finds. A rerun goes on "
        "where the last one was, and does again what failed."
    )
    PARAMETERS = (
        Text("STAC", "Catalog", "--stac",
             help="The address of a STAC API, or the path of a catalog, of items as JSON, or of "
             "items as Parquet."),
        Text("COLLECTIONS", "Collections", "--collections", optional=True),
        Polygons("AREA", "Area", "--intersects", optional=True, ending="geojson"),
        Text("DATETIME", "Dates", "--datetime", optional=True, help="Such as 2024-05/2024-07."),
        Text("QUERY", "Query", "--query", optional=True, advanced=True),
        Number("MAX_ITEMS", "Scenes at most", "--max-items", whole=True, low=1),
        *model(hints=["decloud-s2-4band", "fill"]),
        Choice("REFERENCE", "Other dates", "--reference", words=["none", "auto"], default="none",
               help="auto: clouds are filled from what the other scenes saw."),
        Choice("ENGINE", "Engine", "--engine", words=["serial", "processes", "dask"],
               default="serial", advanced=True),
        Number("WORKERS", "Workers", "--workers", whole=True, low=1, advanced=True),
        Number("RETRIES", "Retries of a scene", "--retries", whole=True, low=0, advanced=True),
        Switch("DRY_RUN", "Only say what would be done", "--dry-run"),
        FolderOutput("OUTPUT", "Folder of results", "--out"),
    )  # fmt: skip
