"""The module of an array, and constants beside it: numpy or torch, on any device."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any, TypeAlias

Array: TypeAlias = Any
"""An array of numpy, torch or any other module of the array API, on any device."""


def array_module(array: Array) -> Any:
    """Return the module of functions that this array belongs to, without importing it."""
    if is_numpy(array):
        return array.__array_namespace__()
    # torch has the names but not the method; who holds a tensor has imported it
    return sys.modules[
        next(name for kind in type(array).__mro__ if (name := kind.__module__) == "torch")
    ]


@lru_cache(maxsize=1)
def keep_freed_memory(module: Any) -> None:
    """Have the C library keep the memory of small arrays for the next ones.

    It gives freed memory back at once until an array of some size has been freed, and page faults
    of new arrays then take more time than the sums in them. This one is never written to, and so
    costs nothing.
    """
    module.empty(31 * 2**17, dtype=module.float64)


@lru_cache(maxsize=128)
def _constant(values: Any, dtype: str, module: Any, device: Any) -> Array:
    return module.asarray(values, dtype=getattr(module, dtype), device=device)


def constant(values: Any, like: Array, dtype: str = "float64") -> Array:
    """Return nested tuples of numbers as an array beside ``like``, which nobody may write to.

    Kept once made: each copy to a GPU would make it wait.
    """
    return _constant(values, dtype, array_module(like), like.device)


def is_numpy(array: Array) -> bool:
    """Whether an array is numpy's, or of another module of the array API, and no tensor."""
    return hasattr(array, "__array_namespace__")


def taken(array: Array, index: Array, axis: int) -> Array:
    """Return what stands at index (M,) along an axis, by the quickest road there is."""
    if is_numpy(array):
        return array_module(array).take(array, index, axis=axis)
    return array.index_select(axis, index)


def is_on_cpu(array: Array) -> bool:
    """Whether numbers can be looked at without making a GPU wait."""
    return str(array.device) == "cpu"
