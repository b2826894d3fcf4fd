"""The reference STAC server, stac-fastapi on PostgreSQL, with real imagery: another judge."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio

from geodecloud.batch import BatchOptions, Query, plan, run
from geodecloud.batch.query import Term
from geodecloud.geo.excerpt import bounds_of
from geodecloud.geo.profile import Profile
from geodecloud.geo.raster import open_scene, write_array
from geodecloud.geo.tiling import Window
from tests.batch.stac_items import EARTH_SEARCH, band_assets, make_item
from tests.batch.stac_server import StacServer, serving
from tests.conftest import REPOSITORY, absent

SERVER_BIN = REPOSITORY / ".venv-pgstac" / "bin"
NAME, COLLECTION = "S2A_32TMT_20190530", "sentinel-2-l2a"
BANDS = ("B02", "B03", "B04", "B08")
START_S = 120

pytestmark = [pytest.mark.pgstac, pytest.mark.timeout(900)]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def call(*command: object, env: dict[str, str] | None = None, user: str | None = None) -> None:
    subprocess.run(
        list(map(str, command)), check=True, env=env, user=user, capture_output=True, cwd="/"
    )


@contextmanager
def postgres() -> Iterator[dict[str, str]]:
    """A cluster of its own on 127.0.0.1: the environment that leads to it."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found or not (SERVER_BIN / "pypgstac").exists():
        absent("no PostgreSQL with PostGIS, or no server beside it: make test-pgstac")
    programs = found[-1].parent
    user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL does not run as root
    folder = Path(tempfile.mkdtemp(prefix="pgstac-"))
    if user is not None:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    port = free_port()
    settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": folder, "fsync": "off"}
    options = " ".join([f"-p {port}", *(f"-c {name}={value}" for name, value in settings.items())])
    try:
        call(programs / "initdb", "-D", folder / "data", "-A", "trust", "-U", "postgres",
             "--no-sync", user=user)  # fmt: skip
        call(programs / "pg_ctl", "-D", folder / "data", "-w", "-o", options, "-l", folder / "log",
             "start", user=user)  # fmt: skip
        try:
            env = {
                **os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "postgres",
                "PGPASSWORD": "x", "PGDATABASE": "postgis",
            }  # fmt: skip
            call(programs / "createdb", "postgis", env={**env, "PGDATABASE": "postgres"})
            call(SERVER_BIN / "pypgstac", "migrate", env=env)
            yield env
        finally:
            call(programs / "pg_ctl", "-D", folder / "data", "-m", "immediate", "stop", user=user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def api(env: dict[str, str], folder: Path) -> Iterator[str]:
    """The STAC API on that database: its address."""
    port = free_port()
    log = (folder / "api.log").open("w")
    server = subprocess.Popen(
        [SERVER_BIN / "uvicorn", "--factory", "stac_fastapi.pgstac.app:create_app",
         "--host", "127.0.0.1", "--port", str(port)],
        env=env, stdout=log, stderr=log, cwd="/",
    )  # fmt: skip
    url, until = f"http://127.0.0.1:{port}", time.monotonic() + START_S
    try:
        while True:
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                assert time.monotonic() < until, (folder / "api.log").read_text()
                assert server.poll() is None, (folder / "api.log").read_text()
                time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait(20)
        log.close()


def publish(folder: Path, shared_data: Path) -> list[dict[str, Any]]:
    """A part of the Zurich scene as one COG a band, on two dates: cloudy, and said to be clear."""
    source = shared_data / "test/scenes_cloudy/20190530_T32TMT_MSIL2A_S2A_pixel_division_10m.tiff"
    with open_scene(source) as scene:
        window = Window(300, 300, 400, 420)
        dn, _ = scene.select(BANDS).read(window)
        geobox = scene.geobox[window.slices]
        sensor = scene.sensor
    files = {}
    for band, plane in zip(BANDS, dn, strict=True):
        files[band] = folder / f"{NAME}_{band}.tif"
        profile = Profile.for_sensor(sensor.select([band]))
        write_array(files[band], plane[None], geobox, profile)
    told = {"scale": 1e-4, "offset": 0, "nodata": 0}
    assets = band_assets(files, "{base}/assets/{name}", EARTH_SEARCH, **told)
    said = {"proj:code": f"EPSG:{geobox.crs.to_epsg()}", "collection": COLLECTION}
    cloudy = make_item(NAME, assets, geobox, at="2019-05-30T10:20:00Z", cloud_cover=30, **said)
    clear = make_item("other", assets, geobox, at="2019-06-20T10:20:00Z", cloud_cover=1, **said)
    return [cloudy, clear]


def collection_of(items: list[dict[str, Any]]) -> dict[str, Any]:
    space = pystac.SpatialExtent([items[0]["bbox"]])
    time_ = pystac.TemporalExtent([[None, None]])
    extent = pystac.Extent(space, time_)
    made = pystac.Collection(COLLECTION, "Sentinel-2", extent, license="proprietary")
    content: dict[str, Any] = made.to_dict(include_self_link=False)
    content["extent"]["temporal"]["interval"] = [["2019-01-01T00:00:00Z", None]]
    return content


@pytest.fixture(scope="module")
def published(
    tmp_path_factory: pytest.TempPathFactory, shared_data: Path
) -> Iterator[tuple[str, StacServer, list[dict[str, Any]]]]:
    """The API with two items, and the server of their files."""
    folder = tmp_path_factory.mktemp("published")
    with serving(folder, []) as files, postgres() as env:
        items = json.loads(json.dumps(publish(folder, shared_data)).replace("{base}", files.url))
        (folder / "collections.ndjson").write_text(json.dumps(collection_of(items)))
        (folder / "items.ndjson").write_text("\n".join(map(json.dumps, items)))
        for kind in ("collections", "items"):
            file = folder / f"{kind}.ndjson"
            call(SERVER_BIN / "pypgstac", "load", kind, file, "--method", "insert", env=env)
        with api(env, folder) as url:
            yield url, files, items


def found(url: str, query: Query) -> list[str]:
    jobs, failures = plan(url, query)
    assert failures == []
    return sorted(job.id for job in jobs)


def test_searches_find_what_is_wanted(published):
    url, _, items = published
    west, south, *_ = items[0]["bbox"]
    here = (west, south, west + 0.001, south + 0.001)
    assert found(url, Query(bbox=here)) == sorted([NAME, "other"])
    assert found(url, Query(collections=[COLLECTION], datetime="2019-05")) == [NAME]
    assert found(url, Query(terms=[Term.of("eo:cloud_cover>10")])) == [NAME]
    assert found(url, Query(intersects=items[0]["geometry"], datetime="2019-06-20")) == ["other"]


def test_clouds_go_by_the_model_and_the_result_is_a_catalog(published, tmp_path):
    url, files, _ = published
    before = len(files.asked())
    report = run(url, tmp_path, Query(datetime="2019-05-30"))
    assert [result.message for result in report.results] == [""]
    assert report.results[0].generated_share > 0.05
    assert all("range" in headers for headers in files.asked()[before:])
    (item,) = pystac.Catalog.from_file(tmp_path / "catalog.json").get_items()
    source = next(link for link in item.links if link.rel == "derived_from")
    assert source.href.startswith(f"{url}/collections/{COLLECTION}/items/{NAME}")
    with (
        rasterio.open(tmp_path / COLLECTION / NAME / "clear.tif") as clear,
        rasterio.open(tmp_path / COLLECTION / NAME / "provenance.tif") as provenance,
    ):
        after, kind = clear.read(), provenance.read(1)
    with rasterio.open(files.root / f"{NAME}_B02.tif") as raster:
        untouched = kind == 1
        np.testing.assert_array_equal(after[0][untouched], raster.read(1)[untouched])
    report = run(url, tmp_path, Query(datetime="2019-05-30"))
    assert [result.status for result in report.results] == ["skipped"]


def test_other_dates_are_found_and_only_the_area_is_read(published, tmp_path):
    url, files, _ = published
    with open_scene(files.root / f"{NAME}_B02.tif") as scene:
        part = bounds_of(scene.geobox[100:200, 100:220])
    options = BatchOptions(reference="auto")
    report = run(url, tmp_path, Query(bbox=part, datetime="2019-05-30"), options)
    assert [result.message for result in report.results] == [""]
    with rasterio.open(tmp_path / COLLECTION / NAME / "clear.tif") as clear:
        assert 100 <= clear.height <= 106
        assert 120 <= clear.width <= 126
    item = json.loads((tmp_path / COLLECTION / NAME / "item.json").read_text())
    assert "reference: other" in [link.get("title") for link in item["links"]]
