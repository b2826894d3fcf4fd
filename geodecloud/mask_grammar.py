"""What a mask is asked to be: terms joined by + and subtracted by -, and where they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from geodecloud.errors import OptionError

Array = npt.NDArray[Any]
Source = str | Path | Array
Mask = Source | Sequence[Source]
"""A mask as users write it: text such as "auto+lake.geojson", a path, an array, or several."""

SIGNS, QUOTES = "+-", "\"'"


class Term(NamedTuple):
    """One part of a mask: ``source`` is added ("+") or taken away ("-")."""

    sign: Literal["+", "-"]
    source: Source


def terms_of(mask: Mask, is_known: Callable[[str], bool]) -> list[Term]:
    """Return the terms of a mask, left to right; the first is added.

    Text is read by four rules. The whole of it, where it names something, is one term: an
    existing file wins over any way to cut its name. Else each term is the longest piece, ending
    at a sign or at the end, that names something. In quotes stands one path. A leading minus
    takes away from what earlier entries of a list gave.

    Args:
        mask: text, a path, an array, or a sequence of them, whose entries are added.
        is_known: says of a piece of text whether it names something: a word or a file.

    Raises:
        OptionError: a piece names nothing, a term is missing, or nothing precedes a minus.

    Example:
        >>> known = {"auto", "b-c.tif"}
        >>> [(term.sign, term.source) for term in terms_of("auto-b-c.tif", known.__contains__)]
        [('+', 'auto'), ('-', 'b-c.tif')]
    """
    entries = [mask] if isinstance(mask, str | Path | np.ndarray) else list(mask)
    terms = []
    for entry in entries:
        terms += _split(entry, is_known) if isinstance(entry, str) else [Term("+", entry)]
    if not terms:
        raise _incomplete("an empty list")
    if terms[0].sign == "-":
        raise OptionError(
            f"the mask begins with -{terms[0].source}",
            "a minus takes away from what stands before it",
            "name that first, such as auto or all",
        )
    return terms


def _split(text: str, is_known: Callable[[str], bool]) -> list[Term]:
    if text and is_known(text):
        return [Term("+", text)]
    terms: list[Term] = []
    sign, at = "+", 0
    if text[:1] in (*SIGNS,):
        sign, at = text[0], 1
    while True:
        source, at = _piece(text, at, is_known)
        terms.append(Term("-" if sign == "-" else "+", source))
        if at == len(text):
            return terms
        sign, at = text[at], at + 1


def _piece(text: str, start: int, is_known: Callable[[str], bool]) -> tuple[Source, int]:
    """One term and where it ends: at a sign, or at the end of the text."""
    if text[start : start + 1] in (*QUOTES,):
        end = text.find(text[start], start + 1)
        if end < 0 or text[end + 1 : end + 2] not in ("", *SIGNS):
            raise _incomplete(repr(text))
        return Path(text[start + 1 : end]), end + 1
    ends = [at for at in range(start, len(text)) if text[at] in SIGNS] + [len(text)]
    for end in reversed(ends):
        piece = text[start:end].strip()
        if piece and is_known(piece):
            return piece, end
    if not text[start : ends[0]].strip():
        raise _incomplete(repr(text))
    # named by nothing: told whole, as what it is meant to be is not known
    return text[start:].strip(), len(text)


def _incomplete(found: str) -> OptionError:
    return OptionError(
        f"the mask is {found}",
        "a mask is one or several terms with + or - between them, a path in quotes if need be",
        "name a term on both sides of each sign",
    )
