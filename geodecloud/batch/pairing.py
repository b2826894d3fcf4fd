"""Pairing: which items of the same place help with an item: clear dates, and radar."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from geodecloud.batch.conventions import clouds_of
from geodecloud.batch.query import Item, times_of

REFERENCE_DAYS = 60
MAX_REFERENCES = 3
MAX_REFERENCE_CLOUD = 30.0
"""Percent: what lies below is worth its download."""

MIN_OVERLAP = 0.5
SAME_PASS = timedelta(hours=1)
"""Closer in time are neighbours of one pass, or the same scene processed twice."""


def clearest_dates(
    item: Item, others: Iterable[Item], area: BaseGeometry | None = None
) -> list[Item]:
    """Return the clearest items of the same place within ``REFERENCE_DAYS``, at most three.

    Clearer than the item itself; the clearest first, of two the nearer in time.

    Args:
        item: to be helped.
        others: to choose from.
        area: where it is needed, in degrees; None means all of the item.
    """
    found = [
        (clouds_of(other), _apart(item, other), other["id"], other)
        for other in others
        if SAME_PASS < _apart(item, other) <= timedelta(days=REFERENCE_DAYS)
        and clouds_of(other) < min(MAX_REFERENCE_CLOUD, clouds_of(item))
        and _overlap(item, other, area) >= MIN_OVERLAP
    ]
    return [other for *_, other in sorted(found, key=lambda entry: entry[:3])[:MAX_REFERENCES]]


def nearest_radar(
    item: Item, others: Sequence[Item], days: float, area: BaseGeometry | None = None
) -> Item | None:
    """Return the radar item that shows most of the same place, of such the nearest in time.

    Args:
        item: to be helped.
        others: Sentinel-1 items to choose from.
        days: that may lie between.
        area: where it is needed, in degrees; None means all of the item.
    """
    found = [
        (-round(_overlap(item, other, area), 2), _apart(item, other), other["id"], other)
        for other in others
        if _apart(item, other) <= timedelta(days=days) and _overlap(item, other, area) > 0
    ]
    return min(found, key=lambda entry: entry[:3])[3] if found else None


def _apart(one: Item, other: Item) -> timedelta:
    return abs(times_of(one)[0] - times_of(other)[0])


def _overlap(item: Item, other: Item, area: BaseGeometry | None) -> float:
    """The share of an item's ground, inside of the area, that another shows."""
    if not item.get("geometry") or not other.get("geometry"):
        return 0.0
    ground = shape(item["geometry"])
    wanted = ground if area is None else ground.intersection(area)
    if not wanted.area:
        return 0.0
    return float(wanted.intersection(shape(other["geometry"])).area / wanted.area)
