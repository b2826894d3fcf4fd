"""Signatures: asked for when a link is read, shown to the storage alone, anew before they end."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest

from geodecloud.batch import BatchOptions, Query, run
from geodecloud.errors import NetworkError, OptionError
from geodecloud.geo import signing
from geodecloud.geo.assets import Asset, open_assets
from geodecloud.geo.fetching import Fetcher, refused
from geodecloud.geo.profile import Profile
from geodecloud.geo.raster import write_array
from geodecloud.geo.sensors import Band, Sensor
from geodecloud.geo.signing import PlanetaryComputer, signer_of
from geodecloud.geo.tiling import Window
from tests.batch.conftest import IMPATIENT
from tests.batch.stac_items import cog_items
from tests.batch.stac_server import Fault, StacServer, serving
from tests.strategies import utm_geobox

BLOB = "https://account1.blob.core.windows.net/con-tainer/a/b.tif"
SIGNED = BatchOptions({"model": "fill"}, sign="planetary-computer", network=IMPATIENT, retries=0)


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    folder = tmp_path_factory.mktemp("signed")
    return folder, cog_items(folder, 2)


@pytest.fixture
def server(assets, monkeypatch):
    """A catalog, its storage, which wants signatures, and who gives them, in one."""
    folder, items = assets
    with serving(folder, [dict(item) for item in items]) as running:
        running.token = "nobody=has&this=yet"
        monkeypatch.setenv("PC_SDK_SAS_URL", f"{running.url}/sas")
        # the storage of these tests is no Azure
        monkeypatch.setattr(signing, "_BLOB", re.compile(r"http://(127)[.:\d]+/(assets)/.+"))
        yield running


def signed(server: StacServer, url: str = BLOB, key: str = "") -> str:
    return PlanetaryComputer(IMPATIENT, f"{server.url}/sas", key)(url)


def test_a_link_to_the_storage_is_signed_with_the_token_of_its_container(three_servers):
    server = three_servers[0]
    assert signed(server) == f"{BLOB}?{server.token}"
    assert signed(server, f"{BLOB}?x=1") == f"{BLOB}?x=1&{server.token}"
    assert server.asked("/sas/account1/con-tainer$")


@pytest.fixture
def three_servers(tmp_path):
    with serving(tmp_path, []) as one, serving(tmp_path, []) as two, serving(tmp_path, []) as three:
        yield one, two, three


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/a.tif", "https://example.org/x.blob.core.windows.net/c/a.tif",
        "https://account1.blob.core.windows.net.example.org/c12/a.tif",
        "https://me@account1.blob.core.windows.net/con/a.tif",
        "https://account1.blob.core.windows.net/", "https://blob.core.windows.net/con/a.tif",
        "http://account1.blob.core.windows.net/con/a.tif", f"{BLOB}?sig=mine&se=2026", "/a.tif",
        "https://account1.blob.core.windows.net/../../a.tif",
    ],
)  # fmt: skip
def test_links_to_elsewhere_and_signed_ones_stay_as_they_are(three_servers, url):
    assert signed(three_servers[0], url) == url
    assert three_servers[0].log == []


def test_a_token_serves_all_links_of_a_container_until_it_ends(three_servers):
    server = three_servers[0]
    sign = PlanetaryComputer(IMPATIENT, f"{server.url}/sas")
    assert sign(BLOB) == sign(BLOB)
    sign(BLOB.replace("con-tainer", "other"))
    assert len(server.log) == 2
    server.token_life_s = 60.0  # ends too soon to be kept
    sign = PlanetaryComputer(IMPATIENT, f"{server.url}/sas")
    assert sign(BLOB) != sign(BLOB)


def test_the_key_of_a_subscription_is_shown_to_the_server_of_tokens_alone(three_servers):
    server, other, _ = three_servers
    signed(server, key="KEY")
    assert server.asked("/sas")[0]["ocp-apim-subscription-key"] == "KEY"
    server.faults = [Fault(f"redirect {other.url}/sas/a/b", where="/sas")]
    signed(server, key="KEY")
    assert "ocp-apim-subscription-key" not in other.asked("/sas")[0]


@pytest.mark.parametrize("kind", [403, 404, 500, "hang", "html", "json", "empty", "reset"])
def test_a_server_that_gives_no_token_is_one_typed_error(three_servers, kind):
    three_servers[0].faults = [Fault(kind, where="/sas")]
    with pytest.raises(NetworkError):
        signed(three_servers[0])


def test_an_unknown_signer_is_refused():
    with pytest.raises(OptionError, match="planetary-computer"):
        signer_of("somebody", IMPATIENT)
    assert signer_of(None, IMPATIENT) is None


def test_closed_storage_names_the_way_in():
    assert "--sign planetary-computer" in refused(BLOB, 409).todo
    assert "--sign" not in refused(BLOB, 409, is_signed=True).todo
    assert "--sign" not in refused(f"{BLOB}?sig=x", 403).todo
    assert "--sign" not in refused("https://example.org/a.tif", 403).todo


def test_items_are_read_with_signatures_that_nobody_else_sees(server, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    notes: list[str] = []
    out = tmp_path / "out"
    report = run(server.url, out, Query(), SIGNED, on_note=notes.append)
    assert [result.message for result in report.results] == ["", ""]
    assert len(server.asked("/sas/")) == 1  # for all files of both items
    told = f"{report.to_json()} {notes} {SIGNED}"
    written = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert "SECRET" not in told
    assert "_B02.tif?... HTTP" in caplog.text  # urllib3 does log what it asks for
    assert "SECRET" not in caplog.text
    assert b"SECRET" not in written
    unsigned = BatchOptions({"model": "fill"}, network=IMPATIENT)
    again = run(server.url, out, Query(), unsigned)
    assert [result.status for result in again.results] == ["skipped", "skipped"]


def test_unsigned_items_fail_alone(server, tmp_path):
    unsigned = BatchOptions({"model": "fill"}, network=IMPATIENT, retries=0)
    report = run(server.url, tmp_path, Query(), unsigned)
    assert all("HTTP 409" in result.message for result in report.results)


def test_errors_never_hold_the_signature(server, tmp_path):
    server.faults = [Fault(503, where="S2A_32TMT_0_B04")]
    report = run(server.url, tmp_path, Query(max_items=1), SIGNED)
    assert "HTTP 503" in report.results[0].message
    assert "SECRET" not in json.dumps(report.to_json())


def test_a_signature_that_ends_while_a_scene_is_read_is_made_anew(server):
    dn = np.random.default_rng(0).integers(200, 4000, (1, 600, 600)).astype(np.uint16)
    profile = Profile.for_sensor(Sensor("test", (Band("B02", scale=1e-4, nodata=0),)))
    write_array(server.root / "big.tif", dn, utm_geobox((600, 600)), profile)
    server.token_life_s = 30.0
    sign = signer_of("planetary-computer", IMPATIENT)
    asset = Asset(f"{server.url}/assets/big.tif", ())
    with open_assets([asset], Fetcher(IMPATIENT, sign=sign)) as scene:
        n_before, server.token = len(server.asked("/sas/")), "the=old&one=ended"
        read, _ = scene.read(Window(0, 0, 600, 600))
    np.testing.assert_array_equal(read, dn)
    assert len(server.asked("/sas/")) > n_before > 0
