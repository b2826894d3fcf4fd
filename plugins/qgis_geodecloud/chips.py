"""Scenes cut into training chips, and put together again."""

from .algorithm import Algorithm
from .parameters import (
    Choice,
    Folder,
    FolderOutput,
    Number,
    Polygons,
    RasterOutput,
    Rasters,
    Switch,
)
from .scene import BANDS, SENSOR

GROUP = "Chips"


class MakeChips(Algorithm):
    """chip: georeferenced chips of one size, with a manifest."""

    ID, TITLE, GROUP, COMMAND = "makechips", "Make training chips", GROUP, ("chip",)
    ABOUT = (
        "Cuts scenes into georeferenced GeoTIFFs of one size. Mosaic chips gives the scene back "
        "bit for bit, and Train model learns from them."
    )
    PARAMETERS = (
        Rasters("INPUT", "Scenes", "", help="Several scenes get a folder each."),
        Number("CHIP_SIZE", "Side of a chip (pixels)", "--chip-size", default=64, whole=True,
               low=1),
        Number("OVERLAP", "Pixels that neighbours share", "--overlap", default=0, whole=True,
               low=0),
        Switch("PAIRS", "A source and its target, as pairs to learn from", "--pairs",
               help="Of two scenes: chips in images and images2."),
        Polygons("AREA", "Only inside of polygons", "--aoi", optional=True),
        Number("MIN_VALID", "Smallest share of valid pixels", "--min-valid", low=0, high=1,
               advanced=True),
        Number("MAX_CLOUD", "Largest share of cloud", "--max-cloud", low=0, high=1, advanced=True),
        Choice("LAYOUT", "Layout", "--layout", words=["geodecloud", "esri"], default="geodecloud",
               help="esri: one export of all scenes, on which ArcGIS can train.", advanced=True),
        BANDS,
        SENSOR,
        Switch("OVERWRITE", "Replace the chips of another cut", "--overwrite", advanced=True),
        FolderOutput("OUTPUT", "Folder of chips", ""),
    )  # fmt: skip
    FIGURES = (("CHIPS", "n_chips", "Number of chips"),)


class MosaicChips(Algorithm):
    """mosaic: chips made one scene again."""

    ID, TITLE, GROUP, COMMAND = "mosaicchips", "Mosaic chips", GROUP, ("mosaic", "--overwrite")
    ABOUT = (
        "Puts the chips of a folder together. Chips of geodecloud give their scene back bit for "
        "bit; other georeferenced chips are laid on their common grid, and overlaps are blended."
    )
    PARAMETERS = (
        Folder("INPUT", "Folder of chips", ""),
        Number("NODATA", "Stored number of gaps between loose chips", "--nodata", advanced=True),
        RasterOutput("OUTPUT", "Mosaic", ""),
    )
