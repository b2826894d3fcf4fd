"""What a mask is asked to be: where terms end, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.errors import OptionError
from geodecloud.mask_grammar import terms_of

WORDS = {"auto", "all", "none", "scl", "spectral", "spectral-rgb", "ukis-csmask"}


def told(mask, *files):
    terms = terms_of(mask, (WORDS | set(files)).__contains__)
    return [(term.sign, str(term.source)) for term in terms]


@pytest.mark.parametrize(
    ("mask", "files", "terms"),
    [
        ("auto", (), [("+", "auto")]),
        ("spectral-rgb", (), [("+", "spectral-rgb")]),
        ("auto+scl", (), [("+", "auto"), ("+", "scl")]),
        ("all-scl", (), [("+", "all"), ("-", "scl")]),
        (" auto + scl ", (), [("+", "auto"), ("+", "scl")]),
        ("auto+extra.geojson-keep.tif", ("extra.geojson", "keep.tif"),
         [("+", "auto"), ("+", "extra.geojson"), ("-", "keep.tif")]),
        ("ukis-csmask-spectral-rgb", (), [("+", "ukis-csmask"), ("-", "spectral-rgb")]),
        # an existing path wins over every way to cut its name
        ("auto-scl", ("auto-scl",), [("+", "auto-scl")]),
        ("auto+a-b+c.tif", ("a-b+c.tif", "a", "b"), [("+", "auto"), ("+", "a-b+c.tif")]),
        ("auto+a-b", ("a", "b"), [("+", "auto"), ("+", "a"), ("-", "b")]),
        ("/x-y/a.tif-/x-y/b.tif", ("/x-y/a.tif", "/x-y/b.tif"),
         [("+", "/x-y/a.tif"), ("-", "/x-y/b.tif")]),
        # quotes hold a path together, be it there or not
        ("auto-'a-b.tif'", ("a", "b.tif"), [("+", "auto"), ("-", "a-b.tif")]),
        ('"a+b.tif"+scl', (), [("+", "a+b.tif"), ("+", "scl")]),
        # the option again: entries are added, or taken away
        (["auto", "-keep-1.tif", "+scl"], ("keep-1.tif",),
         [("+", "auto"), ("-", "keep-1.tif"), ("+", "scl")]),
        ([Path("a-b.tif"), "-scl"], (), [("+", "a-b.tif"), ("-", "scl")]),
        (Path("all"), (), [("+", "all")]),
    ],
)  # fmt: skip
def test_terms_end_where_they_name_something(mask, files, terms) -> None:
    assert told(mask, *files) == terms


def test_what_names_nothing_is_told_whole() -> None:
    assert told("auto+my-clouds.tif") == [("+", "auto"), ("+", "my-clouds.tif")]


def test_arrays_are_terms() -> None:
    drawn = np.eye(3, dtype=bool)
    terms = terms_of(["auto", drawn], WORDS.__contains__)
    assert terms[1].source is drawn
    assert terms_of(drawn, WORDS.__contains__)[0].source is drawn


@pytest.mark.parametrize(
    "mask",
    ["", " ", "auto+", "auto++scl", "+", "-", "auto-", "'auto", "auto+'a'b", [], ["auto", ""]],
)
def test_a_missing_term_is_refused(mask) -> None:
    with pytest.raises(OptionError, match=r"one or several terms|an empty list"):
        told(mask)


@pytest.mark.parametrize("mask", ["-scl", ["-scl", "auto"]])
def test_nothing_can_be_taken_from_nothing(mask) -> None:
    with pytest.raises(OptionError, match="begins with -scl"):
        told(mask)


names = st.text(st.sampled_from("ab+-'."), min_size=1, max_size=8)


@given(st.lists(st.tuples(st.sampled_from("+-"), names), min_size=1, max_size=4))
def test_quoted_paths_come_back_whatever_they_hold(parts) -> None:
    parts = [("+", parts[0][1]), *parts[1:]]
    text = "".join(f'{sign}"{name}"' for sign, name in parts)
    assert told(text) == [(sign, str(Path(name))) for sign, name in parts]
