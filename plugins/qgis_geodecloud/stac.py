"""Many scenes at once, out of a STAC catalog."""

from .algorithm import Algorithm
from .parameters import Bounds, Choice, FolderOutput, Number, Polygons, Switch, Text
from .scene import BANDS, CLEARING_MODEL, DEVICE

GROUP = "Batch"


class BatchStac(Algorithm):
    """batch: clouds out of every scene that a search finds."""

    ID, TITLE, GROUP, COMMAND = "batchstac", "Batch from STAC", GROUP, ("batch",)
    ABOUT = (
        "Removes the clouds of every scene that a search in a STAC catalog finds, and writes a "
        "catalog of the results. A rerun goes on where the last one was, and does again what "
        "failed."
    )
    PARAMETERS = (
        Text("STAC", "Catalog", "--stac",
             help="The address of a STAC API; or the path or address of a catalog.json, or of "
             "items as JSON or Parquet."),
        Text("COLLECTIONS", "Collections", "--collections", optional=True,
             help="Several with commas between; such as sentinel-2-l2a."),
        Bounds("EXTENT", "Only inside of", "--bbox", help="Which part of the scenes."),
        Polygons("AREA", "or inside of polygons", "--intersects", optional=True,
                 crs="EPSG:4326", ending="geojson"),
        Text("DATETIME", "Dates", "--datetime", optional=True,
             help="Such as 2026-06, or 2026-06-01/2026-06-30."),
        Number("MAX_CLOUD", "Scenes with less cloud than (%)", "--query", low=0, high=100,
               form="eo:cloud_cover<{}", help="As the catalog says; empty: all."),
        Number("MAX_ITEMS", "Scenes at most", "--max-items", whole=True, low=1),
        *CLEARING_MODEL,
        Choice("REFERENCE", "Other dates", "--reference", words=["none", "auto"], default="none",
               help="auto: clouds are filled from the clearest scenes of the same place within "
               "60 days."),
        Switch("DRY_RUN", "Only say what would be done", "--dry-run"),
        Text("SAR_COLLECTION", "Collection of radar", "--sar-collection", optional=True,
             advanced=True, help="For models that look at Sentinel-1."),
        Switch("UNCERTAINTY", "Also write how far values may be off", "--no-uncertainty",
               default=True, advanced=True, help="Where the model knows."),
        Choice("SIGN", "Sign links for", "--sign", words=["none", "planetary-computer"],
               default="none", silent=["none"], advanced=True,
               help="Some catalogs open their images for signed links alone."),
        BANDS,
        DEVICE,
        Choice("ENGINE", "Engine", "--engine", words=["serial", "processes", "dask"],
               default="serial", advanced=True,
               help="This process, others of this machine, or Dask (geodecloud[batch])."),
        Number("WORKERS", "Worker processes", "--workers", whole=True, low=1, advanced=True),
        Number("RETRIES", "Further tries of a scene", "--retries", whole=True, low=0, default=2,
               advanced=True),
        Switch("ALLOW_LOCAL", "Links may lead to this disk and network", "--allow-local",
               advanced=True, help="For catalogs of your own: others could read your files."),
        FolderOutput("OUTPUT", "Folder of the results", "--out"),
    )  # fmt: skip
    FIGURES = (
        ("DONE", "done", "Scenes done"),
        ("SKIPPED", "skipped", "Scenes that were done already"),
        ("FAILED", "failed", "Scenes that failed"),
    )

    def finish(self, asked, result):
        """Name the scenes that failed, and why: the others are there all the same."""
        for item in (*result["items"], *result.get("failures", ())):
            error = item.get("error")
            if error:
                said = "; ".join(error[part] for part in ("found", "expected", "todo"))
                asked.feedback.reportError(f"{item['id']}: {said}")
        return super().finish(asked, result)
