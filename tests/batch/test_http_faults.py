"""Whatever a server does, a raster or a search is right, or there is one typed error."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from geodecloud.batch.query import Query
from geodecloud.batch.stac import find_items
from geodecloud.errors import GeodecloudError, InputError, NetworkError
from geodecloud.geo.assets import Asset, open_assets
from geodecloud.geo.fetching import Fetcher
from geodecloud.geo.profile import Profile
from geodecloud.geo.raster import write_array
from geodecloud.geo.sensors import Band, Sensor
from geodecloud.geo.tiling import Window
from tests.batch.conftest import IMPATIENT
from tests.batch.stac_server import Fault, StacServer, serving
from tests.strategies import utm_geobox

SHAPE = (1030, 1030)
FAR = Window(600, 600, 300, 300)
LONGEST_S = 30.0

ONCE, ALWAYS, LATER = {"times": 1}, {}, {"after": 1}
"""The first answer; every answer; every one but the first, when the file is open already."""

PASSING = (408, 429, 500, 502, 503, 504, "reset", "short", "hang")
LASTING = (400, 401, 403, 404, 410, 416, "other range", "html", "json", "empty", "huge")

MATRIX = [
    *((kind, "once", None) for kind in PASSING),
    *((kind, "always", NetworkError) for kind in PASSING),
    *((kind, "later", NetworkError) for kind in PASSING),
    *((kind, "once", InputError) for kind in LASTING),
    *((kind, "always", InputError) for kind in LASTING),
    *((kind, "later", InputError) for kind in LASTING),
    ("whole", "once", None), ("whole", "always", None), ("whole", "later", None),
    ("changing", "always", NetworkError), ("changing", "later", NetworkError),
    ("drip", "always", NetworkError),
    ("redirect {base}/assets/big.tif", "always", NetworkError),
    ("redirect {base}/assets/other.tif", "once", None),
    ("redirect {base}/nowhere", "always", NetworkError),
    ("redirect file:///etc/hostname", "always", InputError),
    ("redirect ftp://127.0.0.1/a.tif", "always", InputError),
    ("redirect http://169.254.169.254/latest/meta-data/", "always", InputError),
    ("redirect http://[fd00:ec2::254]/latest/", "always", InputError),
]  # fmt: skip


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A raster of noise in nine blocks, 2 MB: it does not come with its head."""
    folder = tmp_path_factory.mktemp("big")
    dn = np.random.default_rng(0).integers(200, 4000, (1, *SHAPE)).astype(np.uint16)
    profile = Profile.for_sensor(Sensor("test", (Band("B02", scale=1e-4, nodata=0),)))
    for name in ("big.tif", "other.tif"):
        write_array(folder / name, dn, utm_geobox(SHAPE), profile)
    return folder, dn


@pytest.fixture
def files(big: tuple[Path, np.ndarray]) -> Iterator[StacServer]:
    with serving(big[0], []) as running:
        yield running


def read_far(server: StacServer, window: Window = FAR) -> np.ndarray:
    asset = Asset(f"{server.url}/assets/big.tif", ())
    with open_assets([asset], Fetcher(IMPATIENT)) as scene:
        return scene.read(window)[0]


@pytest.mark.parametrize(
    ("kind", "when", "outcome"), MATRIX, ids=[f"{kind} {when}" for kind, when, _ in MATRIX]
)
def test_a_raster_is_right_or_there_is_one_typed_error(files, big, kind, when, outcome):
    named = kind.replace("{base}", files.url) if isinstance(kind, str) else kind
    how = {"once": ONCE, "always": ALWAYS, "later": LATER}[when]
    files.faults = [Fault(named, where="big", **how)]
    start = time.monotonic()
    if outcome is None:
        np.testing.assert_array_equal(read_far(files), big[1][:, FAR.slices[0], FAR.slices[1]])
    else:
        with pytest.raises(outcome):
            read_far(files)
    assert time.monotonic() - start < LONGEST_S


SEARCHES = [
    *((kind, "once", None) for kind in (429, 500, 503, "reset", "hang")),
    *((kind, "always", NetworkError) for kind in (401, 403, 404, 429, 500, 503, "reset", "hang")),
    *((kind, "always", InputError) for kind in ("html", "json", "empty")),
    ("redirect http://169.254.169.254/", "always", InputError),
    ("redirect file:///etc/hostname", "always", InputError),
]


@pytest.mark.parametrize(
    ("kind", "when", "outcome"), SEARCHES, ids=[f"{kind} {when}" for kind, when, _ in SEARCHES]
)
@pytest.mark.parametrize("where", ["/$", "/search"])
def test_a_search_is_right_or_there_is_one_typed_error(server, kind, when, outcome, where):
    how = {"times": 1} if when == "once" else {}
    server.faults = [Fault(kind, where=where, **how)]
    found = find_items(server.url, Query(), Fetcher(IMPATIENT), lambda note: None)
    if outcome is None:
        assert len(list(found)) == 3
    else:
        with pytest.raises(outcome):
            list(found)


def test_a_server_that_asks_for_patience_gets_it(files):
    files.faults = [Fault(429, headers={"Retry-After": "1"}, times=1)]
    start = time.monotonic()
    read_far(files)
    assert time.monotonic() - start > 0.7


def test_what_was_forbidden_names_the_way_out(files):
    files.faults = [Fault(403)]
    with pytest.raises(NetworkError, match="sign the links anew"):
        read_far(files)


def test_errors_never_hold_the_signature_of_a_link(files):
    for kind in (403, "reset", "html", "other range"):
        files.faults = [Fault(kind)]
        asset = Asset(f"{files.url.replace('//', '//me:word@')}/assets/big.tif?sig=SECRET", ())
        with (
            pytest.raises(GeodecloudError) as caught,
            open_assets([asset], Fetcher(IMPATIENT)) as scene,
        ):
            scene.read(FAR)
        assert "SECRET" not in str(caught.value)
        assert "word" not in str(caught.value)
