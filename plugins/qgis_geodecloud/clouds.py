"""Clouds taken out of scenes, found in them, and hung over them."""

from qgis.core import QgsProcessingException

from .algorithm import Algorithm
from .parameters import Choice, Extent, Number, Polygons, Raster, RasterOutput, Rasters, Switch
from .scene import CLEARING_MODEL, DEVICE, ENCODING, SENSOR, scene

GROUP = "Clouds"
OVERWRITE = "--overwrite"  # QGIS has asked by then
LAYERS_ALONE = "only the layers below"
GROWTH = (
    Number(
        "DILATE",
        "Grow the mask by (m)",
        "--dilate",
        help="60 where clouds are detected, 0 where they are drawn.",
        low=0,
        advanced=True,
    ),
    Number(
        "SPECKS",
        "Drop clouds smaller than (m²)",
        "--specks",
        help="500 where clouds are detected, 0 where they are drawn.",
        low=0,
        advanced=True,
    ),
    Number(
        "HOLES",
        "Mask clear ground shut in smaller than (m²)",
        "--holes",
        help="5000 where clouds are detected, 0 where they are drawn.",
        low=0,
        advanced=True,
    ),
    Switch("SHADOWS", "Mask cloud shadows too", "--no-shadows", default=True),
)


def mask_sources(words, default, **details):
    """Return the questions for what is masked: a detector, a raster, polygons more and less."""
    return (
        Choice(
            "MASK",
            "Mask from",
            "--mask",
            help="auto: a detector that fits the bands; scl and qa60: the scene's own "
            "classification; all: everything.",
            words=words,
            default=default,
            silent=[LAYERS_ALONE],
        ),
        Raster(
            "MASK_LAYER",
            "and from a raster",
            "--mask",
            help="On the grid of the scene: all but 0 and nodata is masked.",
            optional=True,
            **details,
        ),
        Polygons("MASK_POLYGONS", "and inside of polygons", "--mask", optional=True),
        Polygons(
            "KEEP_POLYGONS",
            "but not inside of polygons",
            "--mask",
            form="-{}",
            help="What a detector takes for cloud and is none: roofs, salt, snow.",
            optional=True,
        ),
    )


class Masking(Algorithm):
    """Algorithms whose form asks what is masked."""

    def words(self, asked):
        """Return the words; a form that masks nothing is refused."""
        words = super().words(asked)
        if "--mask" not in words:
            raise QgsProcessingException(
                f"Mask from {LAYERS_ALONE}, and there is none: choose a raster or polygons"
            )
        return words


class RemoveClouds(Masking):
    """decloud: a scene without its clouds, and where each pixel comes from."""

    ID, TITLE, GROUP, COMMAND = "removeclouds", "Remove clouds", GROUP, ("decloud", OVERWRITE)
    ABOUT = (
        "Replaces clouds and their shadows by what a model draws, or by what other dates saw. "
        "Clear pixels leave bit-identical. What is under a thick cloud was not observed: what a "
        "model draws there is a guess, and the provenance layer marks it."
    )
    PARAMETERS = (
        scene("Cloudy scene", help="Sentinel-2 or alike: a raster with named bands."),
        *CLEARING_MODEL,
        *mask_sources(["auto", "scl", "qa60", "all", LAYERS_ALONE], "auto"),
        Rasters(
            "REFERENCES",
            "Other dates",
            "--reference",
            help="Clouds are filled from what these saw, in the light of the scene; any grid.",
            optional=True,
        ),
        Raster(
            "SAR",
            "Radar",
            "--sar",
            help="Sentinel-1 RTC of about the same date, for models that look at it.",
            optional=True,
        ),
        Extent(
            "EXTENT",
            "Only inside of",
            "--aoi",
            of="INPUT",
            help="The result covers this extent; clouds are filled from what is around it, too.",
        ),
        DEVICE,
        *GROWTH,
        Number("FEATHER", "Fade in over (m)", "--feather", low=0, advanced=True,
               help="30 m, inside of the mask's rim."),
        Number("MAX_CLOUD", "Refuse above this share of cloud", "--max-cloud", low=0, high=1,
               advanced=True, help="0.95: what a model draws of nothing helps nobody."),
        Switch("KEEP_BANDS", "Also write the other bands, unchanged", "--keep-bands",
               advanced=True),
        Choice("HALO", "Edges of tiles", "--halo", words=["exact", "fast"], default="exact",
               help="exact: the tiles cannot be told from the result; fast: blended instead.",
               advanced=True),
        *ENCODING,
        SENSOR,
        RasterOutput("OUTPUT", "Clear scene", "", style="INPUT"),
        RasterOutput("PROVENANCE", "Where each pixel comes from", "--provenance",
                     optional=True, style="provenance"),
        RasterOutput(
            "UNCERTAINTY",
            "How far generated values may be off",
            "--uncertainty",
            help="One standard deviation of the error of each generated value, in reflectance, a "
            "band each; the layer shows red. Only models that were calibrated know it, such as "
            "decloud-s2-4band; fill and other dates do not.",
            optional=True,
            style="uncertainty",
        ),
        RasterOutput("MASK_OUT", "Mask of clouds", "--mask-out", optional=True, style="mask"),
    )  # fmt: skip
    FIGURES = (
        ("CLOUD_SHARE", "cloud_share", "Share of cloud"),
        ("SHADOW_SHARE", "shadow_share", "Share of shadow"),
        ("GENERATED_SHARE", "generated_share", "Share of generated pixels"),
        ("OBSERVED_SHARE", "observed_share", "Share of pixels from other dates"),
        ("IDENTICAL_SHARE", "identical_share", "Share of values that stayed bit-identical"),
    )


class CloudMask(Masking):
    """mask: where the clouds of a scene are."""

    ID, TITLE, GROUP, COMMAND = "cloudmask", "Cloud mask", GROUP, ("mask", OVERWRITE)
    ABOUT = (
        "Writes where clouds, thin clouds and shadows are, as a raster of classes. Look at it, "
        "paint over it, and give it to Remove clouds as its mask."
    )
    PARAMETERS = (
        scene("Scene", within="EXTENT"),
        *mask_sources(["auto", "scl", "qa60", LAYERS_ALONE], "auto", within="EXTENT"),
        *GROWTH,
        Extent("EXTENT", "Only inside of", of="INPUT"),
        *ENCODING,
        RasterOutput("OUTPUT", "Mask of clouds", "", style="mask"),
    )
    FIGURES = (("MASK_SHARE", "mask_share", "Share of masked pixels"),)


class AddClouds(Algorithm):
    """clouds: a synthetic sky over a clear scene."""

    ID, TITLE, GROUP, COMMAND = "addclouds", "Add synthetic clouds", GROUP, ("clouds", OVERWRITE)
    ABOUT = (
        "Hangs a synthetic sky with its shadows over a clear scene, and says of every pixel what "
        "it is: for training, and for trying a model where the truth is known."
    )
    PARAMETERS = (
        scene("Clear scene", within="EXTENT"),
        Choice(
            "TYPE",
            "Clouds",
            "--type",
            help="Several lie above each other.",
            words=["haze", "cirrus", "cumulus", "deck", "fog"],
            several=True,
            default=["cumulus"],
        ),
        Number("COVERAGE", "Share of the scene under cloud", "--coverage", default=0.4, low=0,
               high=1),
        Number("SEED", "Seed", "--seed", default=0, whole=True, low=0,
               help="Another seed, another sky."),
        Number("SUN_AZIMUTH", "Azimuth of the sun (degrees)", "--sun-azimuth", low=0, high=360,
               advanced=True, help="150 degrees from north."),
        Number("SUN_ELEVATION", "Height of the sun (degrees)", "--sun-elevation", low=0, high=90,
               advanced=True, help="50 degrees above the horizon."),
        Extent("EXTENT", "Only inside of", of="INPUT"),
        *ENCODING,
        SENSOR,
        RasterOutput("OUTPUT", "Cloudy scene", "", style="INPUT"),
        RasterOutput("TRUTH", "What each pixel is", "--truth", optional=True, style="mask"),
        RasterOutput("DEPTH", "Optical depth at 550 nm", "--depth", optional=True),
    )  # fmt: skip
    FIGURES = (
        ("CLOUD_SHARE", "cloud_share", "Share of cloud"),
        ("SHADOW_SHARE", "shadow_share", "Share of shadow"),
    )
