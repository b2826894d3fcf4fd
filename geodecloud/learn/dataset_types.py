"""DATASET_TYPES: what a set of packed chips can be trained for, and how it is dealt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from geodecloud.errors import DataError, OptionError
from geodecloud.geo.sensors import SENSORS
from geodecloud.learn.batches import Dealer
from geodecloud.learn.cloud_batches import CloudBatches
from geodecloud.learn.clouding import wavelengths_of
from geodecloud.learn.guided_clouds import GuidedCloudBatches
from geodecloud.learn.mask_batches import MaskBatches
from geodecloud.learn.packed import GUIDES, PackedChips, Side
from geodecloud.learn.pair_batches import (
    COLOURS,
    ChipBatches,
    ColorizeBatches,
    DomainBatches,
    GuidedBatches,
    PairBatches,
)

DATASET_TYPES: Mapping[str, Callable[..., Dealer]] = MappingProxyType(
    {
        "CloudRemoval": CloudBatches,
        "CloudMask": MaskBatches,
        "Pix2Pix": PairBatches,
        "WNet_cGAN": GuidedBatches,
        "GuidedCloudRemoval": GuidedCloudBatches,
        "CycleGAN": DomainBatches,
        "Colorize": ColorizeBatches,
        "GAN": ChipBatches,
    }
)
"""How batches are made: clear chips clouded on the fly (and real pairs), the same with the class of
each pixel, pairs as they are, with a guide, clouded chips with a guide, two domains, colour out of
its grey, chips alone."""

INFRARED_NM = 750.0
"""The near infrared begins here."""

CLOUDED = ("CloudRemoval", "CloudMask", "GuidedCloudRemoval")
"""Types whose source is made of the target, by a sky."""

GUIDED = ("WNet_cGAN", "GuidedCloudRemoval")
"""Types whose batches show a guide too."""


def compatible_types(packed: PackedChips) -> list[str]:
    """Return the types that a set can be trained for."""
    source, target = packed.has("source"), packed.has("target")
    is_paired = bool((source & target).any())
    guided = [packed.has(guide) & target for guide in GUIDES]
    bands = set(packed.sides["target"].bands) if target.any() else set()
    is_reflectance = bool(bands) and packed.sides["target"].unit == "reflectance"
    can_be_clouded = is_reflectance and bands <= set(SENSORS["sentinel-2-l1c"].band_names)
    suits = {
        "CloudRemoval": can_be_clouded,
        "Pix2Pix": is_paired,
        "WNet_cGAN": any((flags & source).any() for flags in guided),
        "GuidedCloudRemoval": can_be_clouded and any(flags.any() for flags in guided),
        "CycleGAN": bool(source.any() and target.any()),
        "Colorize": any(set(names) <= bands for names in COLOURS),
        "GAN": bool(target.any()),
        "CloudMask": can_be_clouded
        # real pairs tell shadows by their last band
        and wavelengths_of(packed.sides["target"].bands)[-1] > INFRARED_NM,
    }
    return [name for name, is_one in suits.items() if is_one]


def inferred_type(packed: PackedChips) -> str:
    """Return the type that a set is meant for, by the sides that its samples have.

    Raises:
        DataError: it could be several, and none before the others.
    """
    source, target = packed.has("source"), packed.has("target")
    guided = packed.has(GUIDES[0]) | packed.has(GUIDES[1])
    compatible = compatible_types(packed)
    if (source & target & guided).all():
        return "WNet_cGAN"
    if (source & target).all() and "mask" not in packed.sides:
        return "Pix2Pix"
    if source.any() and target.any() and not (source & target).any():
        return "CycleGAN"
    if "CloudRemoval" in compatible:
        return "CloudRemoval"
    found = ", ".join(
        f"{packed.has(name).sum()} {name} in {side.unit} ({', '.join(side.bands)})"
        for name, side in packed.sides.items()
    )
    raise DataError(
        f"the type of {packed.path} cannot be inferred: {len(packed)} samples, {found}",
        "pairs are looked for (two sides), domains A and B, pairs with a guide, and clear chips in "
        "reflectance of Sentinel-2 bands",
        f"pass dataset_type, one of {', '.join(compatible) or 'none: give another side'}",
    )


def refuse_type(dataset_type: str) -> None:
    """Raise where a type is none that is known.

    Raises:
        OptionError: it is not.
    """
    if dataset_type == "superres":
        raise OptionError(
            "dataset_type 'superres'",
            "sharpening needs networks of its own, which are not here",
            f"choose of {', '.join(DATASET_TYPES)}",
        )
    if dataset_type not in DATASET_TYPES:
        raise OptionError(
            f"dataset_type {dataset_type!r}",
            f"types are {', '.join(DATASET_TYPES)}",
            "choose one of them",
        )


def refuse_unsuited(packed: PackedChips, dataset_type: str) -> None:
    """Raise where a set cannot be trained for a type.

    Raises:
        OptionError: the type is not known.
        DataError: the set does not suit it.
    """
    refuse_type(dataset_type)
    compatible = compatible_types(packed)
    if dataset_type not in compatible:
        sides = "; ".join(
            f"{name} of {', '.join(side.bands)} in {side.unit}"
            for name, side in packed.sides.items()
        )
        raise DataError(
            f"{packed.path} is no set of type {dataset_type}: its samples have {sides}",
            f"it suits {', '.join(compatible) or 'no type'}",
            "choose one of these, or give the sides that are missing",
        )


def sides_of(packed: PackedChips, dataset_type: str) -> dict[str, Side]:
    """Return what batches of a type show, by side; the source may be made of the target."""
    target = packed.sides["target"]
    if dataset_type == "GAN":
        return {"target": target}
    if dataset_type == "Colorize":
        return {"source": replace(target, bands=("luma",)), "target": target}
    guides = [side for side in GUIDES if side in packed.sides and dataset_type in GUIDED]
    guide = {side: packed.sides[side] for side in guides[:1]}
    source = target if dataset_type in CLOUDED else packed.sides["source"]
    return {"source": source, "target": target, **guide}
