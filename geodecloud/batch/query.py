"""Query: which items of a catalog are wanted, asked of a server or of the item itself."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, Self

import shapely
from shapely.errors import ShapelyError
from shapely.geometry import box, mapping, shape
from shapely.geometry.base import BaseGeometry

from geodecloud.errors import InputError, OptionError

Item = Mapping[str, Any]
Bounds = tuple[float, float, float, float]
Span = tuple[datetime | None, datetime | None]

MAX_AREA_BYTES = 16_000_000

_OPERATORS: Mapping[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "<=": ("lte", operator.le), ">=": ("gte", operator.ge), "!=": ("neq", operator.ne),
    "<": ("lt", operator.lt), ">": ("gt", operator.gt), "=": ("eq", operator.eq),
}  # fmt: skip
_TERM = re.compile(r"\s*([\w:.-]+)\s*(<=|>=|!=|<|>|=)\s*(.+?)\s*")
_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?")


class Term(NamedTuple):
    """A condition on a property of an item, such as ``eo:cloud_cover<60``."""

    name: str
    sign: str
    value: float | str

    @classmethod
    def of(cls, text: str) -> Self:
        """Read a condition.

        Raises:
            OptionError: it is none.
        """
        match = _TERM.fullmatch(text)
        if match is None:
            raise OptionError(
                f"query {text!r}",
                f"a property, one of {' '.join(_OPERATORS)}, and a value",
                "write it as eo:cloud_cover<60",
            )
        name, sign, value = match.groups()
        try:
            return cls(name, sign, float(value))
        except ValueError:
            return cls(name, sign, value)

    def keeps(self, item: Item) -> bool:
        """Say whether an item meets it; one without the property does not."""
        found = item["properties"].get(self.name)
        is_number = isinstance(found, int | float)
        if found is None or is_number != isinstance(self.value, float):
            return False
        return _OPERATORS[self.sign][1](found, self.value)


@dataclass(frozen=True)
class Query:
    """Which items of a catalog are wanted.

    Attributes:
        collections: ids of theirs; all, where there are none.
        ids: of items; all, where there are none.
        bbox: west, south, east, north in degrees.
        intersects: a GeoJSON geometry that items meet; instead of ``bbox``.
        datetime: an instant or an interval, as RFC 3339 has them: "2026-06", "2026-06-01/..".
        terms: conditions on the properties of items.
        max_items: no more than so many, the first that the catalog gives.
    """

    collections: Sequence[str] = ()
    ids: Sequence[str] = ()
    bbox: Bounds | None = None
    intersects: Mapping[str, Any] | None = None
    datetime: str | None = None
    terms: Sequence[Term] = ()
    max_items: int | None = None

    def __post_init__(self) -> None:
        """Refuse what can have no answer."""
        if self.bbox is not None and self.intersects is not None:
            raise OptionError("both a bbox and an area", "one of them", "leave one out")
        if self.max_items is not None and self.max_items < 1:
            raise OptionError(f"max_items is {self.max_items}", "it is at least 1", "try 10")
        if self.bbox is not None:
            west, south, east, north = self.bbox
            if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
                raise OptionError(
                    f"bbox is {', '.join(f'{value:g}' for value in self.bbox)}",
                    "west, south, east, north in degrees",
                    "an area across the date line is asked for in two calls",
                )
        _ = self.span

    @property
    def area(self) -> BaseGeometry | None:
        """What items meet, in degrees."""
        if self.bbox is not None:
            return box(*self.bbox)
        return None if self.intersects is None else shape(self.intersects)

    @property
    def bounds(self) -> Bounds | None:
        """West, south, east and north of the area."""
        area = self.area
        return None if area is None else area.bounds

    @property
    def span(self) -> Span:
        """First and last instant that is wanted; None where time is open."""
        if not self.datetime:
            return None, None
        first, slash, last = self.datetime.partition("/")
        return _instant(first, is_end=False), _instant(last if slash else first, is_end=True)

    def keeps(self, item: Item) -> bool:
        """Say whether an item is wanted."""
        if self.collections and item.get("collection") not in self.collections:
            return False
        if self.ids and item["id"] not in self.ids:
            return False
        area, geometry = self.area, item.get("geometry")
        if area is not None and (not geometry or not shape(geometry).intersects(area)):
            return False
        first, last = self.span
        if first or last:
            begin, end = times_of(item)
            if (first and end < first) or (last and begin > last):
                return False
        return all(term.keeps(item) for term in self.terms)

    def for_server(self, *, knows_query: bool) -> dict[str, Any]:
        """Return the arguments of a STAC API's item search."""
        terms: dict[str, dict[str, float | str]] = {}
        for term in self.terms if knows_query else ():
            terms.setdefault(term.name, {})[_OPERATORS[term.sign][0]] = term.value
        first, last = (None if at is None else _written(at) for at in self.span)
        asked = {
            "collections": list(self.collections) or None,
            "ids": list(self.ids) or None,
            "bbox": None if self.bbox is None else list(self.bbox),
            "intersects": self.intersects,
            "datetime": f"{first or '..'}/{last or '..'}" if first or last else None,
            "query": terms or None,
        }
        return {name: value for name, value in asked.items() if value is not None}

    def around(self, items: Sequence[Item], days: float, collections: Sequence[str] = ()) -> Query:
        """Return the query of what was seen of the same places so many days before or after.

        Args:
            items: that were found; their places and dates count.
            days: on both sides.
            collections: None takes those of this query.
        """
        spans = [times_of(item) for item in items]
        first, last = min(begin for begin, _ in spans), max(end for _, end in spans)
        span = timedelta(days=days)
        bbox = self.bounds
        if bbox is None:
            grounds = [shape(item["geometry"]).bounds for item in items if item.get("geometry")]
            sides = list(zip(*grounds, strict=True))
            bbox = (min(sides[0]), min(sides[1]), max(sides[2]), max(sides[3])) if sides else None
        return Query(
            collections=collections or self.collections,
            bbox=bbox,
            datetime=f"{_written(first - span)}/{_written(last + span)}",
        )


def times_of(item: Item) -> tuple[datetime, datetime]:
    """Return when an item was taken: begin and end.

    Raises:
        InputError: it does not say.
    """
    properties = item["properties"]
    at = properties.get("datetime")
    texts = [properties.get(f"{which}_datetime") or at for which in ("start", "end")]
    try:
        begin, end = (_aware(datetime.fromisoformat(str(text))) for text in texts)
    except ValueError as error:
        raise InputError(
            f"item {item.get('id')} has the date {at!r}",
            "an item says when it was taken (RFC 3339)",
            "ask who made the catalog",
        ) from error
    return begin, end


def read_area(path: str | Path) -> dict[str, Any]:
    """Return the geometry of a GeoJSON file, in degrees; several become one.

    Raises:
        InputError: it cannot be read, or holds no area.
    """
    try:
        if Path(path).stat().st_size > MAX_AREA_BYTES:
            raise ValueError(f"more than {MAX_AREA_BYTES} bytes")
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        features = content.get("features") or [content]
        shapes = [shape(feature.get("geometry") or feature) for feature in features]
        area = shapely.union_all(shapes)
        if area.is_empty or not area.is_valid:
            raise ValueError("no area")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ShapelyError) as e:
        raise InputError(
            f"{path} cannot be read ({e})", "GeoJSON in degrees (RFC 7946)", "export it as GeoJSON"
        ) from e
    west, south, east, north = area.bounds
    if not box(-180, -90, 180, 90).covers(box(west, south, east, north)):
        raise InputError(
            f"{path} reaches to {west:g}, {south:g}, {east:g}, {north:g}",
            "GeoJSON holds degrees (RFC 7946)",
            "export it in EPSG:4326",
        )
    found: dict[str, Any] = mapping(area)
    return found


def _instant(text: str, *, is_end: bool) -> datetime | None:
    """The instant that a text stands for; of a day, a month or a year the first or the last."""
    if text in {"", ".."}:
        return None
    match = _DATE.fullmatch(text)
    try:
        if match is None:
            return _aware(datetime.fromisoformat(text))
        year, month, day = (None if part is None else int(part) for part in match.groups())
        begin = datetime(year or 1, month or 1, day or 1, tzinfo=UTC)
        if not is_end:
            return begin
        if day is not None:
            after = begin + timedelta(days=1)
        elif month is not None:
            after = (begin + timedelta(days=31)).replace(day=1)
        else:
            after = begin.replace(year=begin.year + 1)
        return after - timedelta(seconds=1)
    except ValueError as error:
        raise OptionError(
            f"datetime is {text!r}", "a date, or two with / between", "try 2026-06-01/2026-06-30"
        ) from error


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
