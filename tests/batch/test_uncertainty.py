"""Uncertainty in a batch: written where the model knows it, described, whole, the same again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from stac_geoparquet.arrow import stac_table_to_items

from geodecloud import decloud
from geodecloud.batch import BatchOptions, Query, plan, run
from geodecloud.errors import ModelError
from geodecloud.paste import ORIGINAL
from geodecloud.run.package import CARD, SHIPPED
from tests.batch.conftest import IMPATIENT
from tests.batch.stac_server import serving
from tests.batch.test_running import FILL, FOLDER, sums
from tests.test_dates import read

ONE = Query(ids=["S2A_32TMT_0"])
TWO = Query(ids=["S2A_32TMT_1"])
NAME = "decloud-s2-4band"
PLACE = FOLDER / "S2A_32TMT_0"


def options(uncertainty: bool | None = None, **decloud_options: object) -> BatchOptions:
    return BatchOptions(
        decloud_options, uncertainty=uncertainty, network=IMPATIENT, retries=0, reference="none"
    )


@pytest.fixture(scope="module")
def done(three_items, tmp_path_factory):
    """An item by the shipped model, by default options, and the server it came from."""
    folder, items = three_items
    out = tmp_path_factory.mktemp("uncertain") / "out"
    with serving(folder, items) as server:
        report = run(server.url, out, ONE, options())
        assert report.failed == ()
        yield server, out


def test_it_is_that_of_decloud_and_zero_where_nothing_was_generated(done, three_items, tmp_path):
    files = sorted(three_items[0].glob("S2A_32TMT_0_*.tif"))
    files = [path for path in files if "SCL" not in path.name] + [files[-1]]
    decloud(files, tmp_path / "clear.tif", level="L2A", uncertainty=tmp_path / "one.tif")
    spread = read(done[1] / PLACE / "uncertainty.tif")
    np.testing.assert_array_equal(spread, read(tmp_path / "one.tif"))
    origin = read(done[1] / PLACE / "provenance.tif")[0]
    assert (spread[:, origin == ORIGINAL] == 0).all()
    assert (spread[:, origin > ORIGINAL] > 0).mean() > 0.9


def test_its_asset_says_what_it_holds(done):
    item = json.loads((done[1] / PLACE / "item.json").read_text())
    asset = item["assets"]["uncertainty"]
    assert "uncertainty" in asset["roles"]
    assert asset["type"].endswith("cloud-optimized")
    assert asset["file:size"] == (done[1] / PLACE / "uncertainty.tif").stat().st_size
    assert [band["name"] for band in asset["eo:bands"]] == ["B02", "B03", "B04", "B08"]
    assert not any("common_name" in band for band in asset["eo:bands"])
    with rasterio.open(done[1] / PLACE / "uncertainty.tif") as raster:
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        for number, band in enumerate(asset["raster:bands"]):
            assert (band["scale"], band["offset"]) == (raster.scales[number], 0) == (1e-4, 0)
            assert (band["unit"], band["nodata"]) == ("1", raster.nodata)
        assert asset["proj:shape"] == list(raster.shape)
        assert raster.descriptions == ("B02", "B03", "B04", "B08")


@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_one_that_is_not_whole_is_made_again_to_the_same_bytes(done, damage):
    server, out = done
    before, path = sums(out), out / PLACE / "uncertainty.tif"
    assert run(server.url, out, ONE, options(True)).results[0].status == "skipped"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink() if damage == "remove" else path.write_bytes(content)
    assert run(server.url, out, ONE, options()).results[0].status == "done"
    assert sums(out) == before


def test_without_it_is_another_job_and_leaves_none_behind(done, tmp_path):
    server, out = done
    mine = shutil.copytree(done[1], tmp_path / "mine")
    assert run(server.url, mine, ONE, options(False)).results[0].status == "done"
    run(server.url, tmp_path / "fresh", ONE, options(False))
    assert sums(mine) == sums(tmp_path / "fresh")
    assert not list(mine.rglob("uncertainty.tif"))
    assert sums(mine)[f"{PLACE}/clear.tif"] == sums(out)[f"{PLACE}/clear.tif"]


def test_models_that_know_none_are_done_without_by_default(server, tmp_path):
    notes: list[str] = []
    report = run(server.url, tmp_path, ONE, FILL, on_note=notes.append)
    assert report.failed == ()
    assert not list(tmp_path.rglob("uncertainty.tif"))
    assert notes == []
    (job, *_), _ = plan(server.url, ONE, FILL)
    (other, *_), _ = plan(server.url, ONE, options(False, model="fill"))
    assert job.digest == other.digest


@pytest.fixture
def unsure(tmp_path) -> Path:
    """The shipped model, without what it knows of its errors."""
    folder = shutil.copytree(SHIPPED / NAME, tmp_path / "unsure")
    card = json.loads((folder / CARD).read_text())
    card["uncertainty"] = None
    card["files"] = {n: file for n, file in card["files"].items() if "uncertainty" not in n}
    (folder / CARD).write_text(json.dumps(card))
    for path in folder.glob("uncertainty.*"):
        path.unlink()
    return folder


@pytest.mark.parametrize("kind", ["baseline", "package"])
def test_a_named_model_that_knows_none_is_refused_before_anybody_is_asked(
    server, tmp_path, unsure, kind
):
    model = "fill" if kind == "baseline" else str(unsure)
    with pytest.raises(ModelError, match="does not say how uncertain it is"):
        run(server.url, tmp_path / "out", ONE, options(True, model=model))
    assert server.log == []
    assert plan(server.url, ONE, options(model=model))[0][0].uncertainty is False


def test_an_item_whose_own_model_knows_none_is_done_without_and_said(done, tmp_path, monkeypatch):
    server, _ = done
    monkeypatch.setattr("geodecloud.batch.running.MAX_NOTES", 1)
    notes: list[str] = []
    mixed = BatchOptions(reference="auto", uncertainty=True, network=IMPATIENT, retries=0)
    report = run(server.url, tmp_path, TWO, mixed, on_note=notes.append)
    assert [result.message for result in report.results] == [""]
    assert report.results[0].observed_share > 0
    assert notes == [
        "S2A_32TMT_1: no uncertainty: fill does not say how uncertain it is",
        f"{len(report.results[0].notes) - 1} further notes on items are in the report alone",
    ]
    assert "uncertainty" not in json.loads(
        (tmp_path / FOLDER / "S2A_32TMT_1" / "item.json").read_text()
    )["assets"]  # fmt: skip


def test_a_table_of_items_with_and_without_is_read_as_it_was_written(done, tmp_path):
    import pyarrow.parquet

    server, _ = done
    mine = shutil.copytree(done[1], tmp_path / "mine")
    run(server.url, mine, TWO, FILL)
    one, two = stac_table_to_items(pyarrow.parquet.read_table(mine / "items.parquet"))
    assert set(one["assets"]) - {key for key, asset in two["assets"].items() if asset} == {
        "uncertainty"
    }
    for source in ("items.parquet", "catalog.json"):
        jobs, failures = plan(mine / source, Query(), FILL)
        assert failures == []
        assert [{Path(asset.href).name for asset in job.scene.assets} for job in jobs] == [
            {"clear.tif"}, {"clear.tif"},
        ]  # fmt: skip
