"""way_between: coordinates of one coordinate system in another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt
from odc.geo import CRS
from pyproj.exceptions import ProjError

from geodecloud.errors import GridError

Way = Callable[..., tuple[npt.NDArray[Any], npt.NDArray[Any]]]
"""x and y in one coordinate system to x and y in another."""


def way_between(one: CRS, other: CRS) -> Way:
    """Return what turns x and y in one coordinate system into those of another.

    Raises:
        GridError: nobody knows where one of them lies on Earth, such as a local grid of a mine.
    """
    try:
        way: Way = one.transformer_to_crs(other)
    except ProjError as error:
        raise GridError(
            f"no way is known from the coordinate system {one.proj.name} to {other.proj.name}",
            "both lie on Earth",
            "give both files one coordinate system",
        ) from error
    return way
