"""A catalog in, a catalog out: the pixels of decloud, described, whole, and done once."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pystac
import pystac.validation
import pytest
import rasterio
from stac_geoparquet.arrow import stac_table_to_items

from geodecloud import decloud
from geodecloud.batch import BatchOptions, Job, JobResult, Query, Report, plan, run, run_job
from geodecloud.batch.query import Term
from geodecloud.errors import InputError, OptionError
from geodecloud.paste import OTHER_DATE
from tests.batch.conftest import IMPATIENT
from tests.batch.stac_items import band_assets, make_item, write_scene, write_stack
from tests.batch.stac_server import Fault, StacServer, serving
from tests.test_dates import read

FILL = BatchOptions({"model": "fill"}, network=IMPATIENT, retries=0)
FOLDER = Path("sentinel-2-l2a")


def sums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file by its path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def done(three_items, tmp_path_factory):
    """The output of three items, and what was said."""
    folder, items = three_items
    out = tmp_path_factory.mktemp("batch") / "out"
    with serving(folder, items) as server:
        report = run(server.url, out, Query(), FILL)
        yield server, out, report


def test_the_pixels_are_those_of_decloud(done, three_items, tmp_path):
    _, out, report = done
    files = sorted(three_items[0].glob("S2A_32TMT_1_*.tif"))
    files = [path for path in files if "SCL" not in path.name] + [files[-1]]
    result = decloud(files, tmp_path / "clear.tif", model="fill", level="L2A")
    np.testing.assert_array_equal(
        read(out / FOLDER / "S2A_32TMT_1" / "clear.tif"), read(tmp_path / "clear.tif")
    )
    assert report.results[1].generated_share == result.generated_share > 0


def test_the_report_counts_every_item(done):
    _, _, report = done
    said = report.to_json()
    assert (said["done"], said["skipped"], said["failed"], said["n_items"]) == (3, 0, 0, 3)
    assert json.loads(json.dumps(said)) == said
    for result in report.results:
        assert JobResult.from_json(result.to_json()) == result


def test_items_are_valid_and_say_what_was_done(done):
    server, out, report = done
    catalog = pystac.Catalog.from_file(out / "catalog.json")
    core = pystac.validation.RegisteredValidator.get_validator()
    items = list(catalog.get_items())
    assert [item.id for item in items] == [f"S2A_32TMT_{i}_clear" for i in range(3)]
    for item, result in zip(items, report.results, strict=True):
        content = item.to_dict(include_self_link=False)
        core.validate_core(content, pystac.STACObjectType.ITEM, "1.1.0")
        assert item.properties["processing:level"] == "L4"
        assert item.properties["processing:software"]
        assert item.properties["eo:cloud_cover"] in (20, 40, 60)
        assert item.properties["geodecloud:generated_share"] == round(result.generated_share, 6)
        source = next(link for link in item.links if link.rel == "derived_from")
        assert source.href == (
            f"{server.url}/collections/sentinel-2-l2a/items/{item.id.removesuffix('_clear')}"
        )
        assert item.datetime.year == 2026
    core.validate_core(catalog.to_dict(), pystac.STACObjectType.CATALOG, "1.1.0")


def test_assets_carry_size_checksum_place_and_meaning(done):
    _, out, _ = done
    (item, *_) = pystac.Catalog.from_file(out / "catalog.json").get_items()
    assert set(item.assets) == {"clear", "provenance", "mask", "thumbnail"}
    for asset in item.assets.values():
        path = Path(asset.get_absolute_href())
        assert asset.extra_fields["file:size"] == path.stat().st_size
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert asset.extra_fields["file:checksum"] == f"1220{digest}"
    clear = item.assets["clear"].extra_fields
    with rasterio.open(item.assets["clear"].get_absolute_href()) as raster:
        assert clear["proj:code"] == f"EPSG:{raster.crs.to_epsg()}"
        assert clear["proj:shape"] == list(raster.shape)
        assert clear["proj:transform"] == list(raster.transform)[:6]
        assert raster.scales == (1e-4,) * 4
        assert raster.descriptions == ("B02", "B03", "B04", "B08")
    assert [band["scale"] for band in clear["raster:bands"]] == [1e-4] * 4
    assert [band["name"] for band in clear["eo:bands"]] == ["B02", "B03", "B04", "B08"]
    west, south, east, north = item.bbox
    assert 10.29 < west < east < 10.31
    assert 46.03 < south < north < 46.05


def test_the_table_holds_the_items_of_the_catalog(done):
    import pyarrow.parquet

    _, out, _ = done
    items = list(stac_table_to_items(pyarrow.parquet.read_table(out / "items.parquet")))
    assert [item["id"] for item in items] == [f"S2A_32TMT_{i}_clear" for i in range(3)]
    for item in items:
        assert (out / item["assets"]["clear"]["href"]).is_file()


def test_what_is_done_is_skipped_and_left_as_it_is(done):
    server, out, _ = done
    before, asked = sums(out), len(server.asked())
    report = run(server.url, out, Query(), FILL)
    assert [result.status for result in report.results] == ["skipped"] * 3
    assert sums(out) == before
    assert len(server.asked()) == asked


@pytest.mark.parametrize("damage", ["flip", "remove", "record", "leftover", "half"])
def test_what_is_not_whole_is_done_again_to_the_same_bytes(done, damage):
    server, out, _ = done
    before, folder = sums(out), out / FOLDER / "S2A_32TMT_1"
    if damage == "flip":
        content = bytearray((folder / "clear.tif").read_bytes())
        content[len(content) // 2] ^= 1
        (folder / "clear.tif").write_bytes(content)
    elif damage == "remove":
        (folder / "provenance.tif").unlink()
    elif damage == "record":
        (folder / "item.json").write_text('{"properties"')
    elif damage == "leftover":
        (folder / "item.json").unlink()
        (folder / "clear.tif.part").write_bytes(b"II*")
        (folder / ".item.json.99.part").write_bytes(b"{")
        (folder / "clear.tif.part.rows").write_bytes(b"II*")
    else:
        (folder / "item.json").unlink()
        (folder / "mask.tif").write_bytes(b"half")
    report = run(server.url, out, Query(), FILL)
    assert [result.status for result in report.results] == ["skipped", "done", "skipped"]
    assert sums(out) == before


def test_other_options_make_another_job(done, tmp_path):
    server, _, _ = done
    out = tmp_path / "out"
    one = Query(max_items=1)
    run(server.url, out, one, FILL)
    changed = BatchOptions({"model": "fill", "dilate_m": 100.0}, network=IMPATIENT)
    assert run(server.url, out, one, changed).results[0].status == "done"
    patient = BatchOptions({"model": "fill", "dilate_m": 100.0}, retries=7)
    assert run(server.url, out, one, patient).results[0].status == "skipped"


def test_a_catalog_keeps_the_items_of_earlier_runs(done, tmp_path):
    server, _, _ = done
    run(server.url, tmp_path, Query(datetime="2026-06-01"), FILL)
    report = run(server.url, tmp_path, Query(datetime="2026-06-08"), FILL)
    assert (len(report.results), report.n_items) == (1, 2)


def test_one_item_that_fails_does_not_stop_the_others(server, tmp_path):
    server.faults = [Fault(404, where="S2A_32TMT_1_B03")]
    del server.items[2]["assets"]["nir"]
    options = BatchOptions({"model": "fill"}, bands=["B02", "B03", "B04", "B08"], network=IMPATIENT)
    report = run(server.url, tmp_path, Query(), options)
    assert [result.status for result in report.results] == ["done", "failed", "failed"]
    assert "HTTP 404" in report.results[1].message
    assert "no asset for B08" in report.results[2].message
    assert report.n_items == 1


def test_an_item_is_tried_again_where_the_network_failed(server, tmp_path):
    server.faults = [Fault(503, where="S2A_32TMT_0_B02", times=4)]
    once = run(server.url, tmp_path, Query(max_items=1), FILL)
    assert once.failed
    server.faults = [Fault(503, where="S2A_32TMT_0_B02", times=4)]
    options = BatchOptions({"model": "fill"}, network=IMPATIENT, retries=2)
    report = run(server.url, tmp_path, Query(max_items=1), options)
    assert (report.results[0].status, report.results[0].attempts) == ("done", 2)


def test_only_the_area_is_read_and_written(server, tmp_path):
    west, south, east, north = server.items[0]["bbox"]
    middle = (west + east) / 2
    report = run(server.url, tmp_path, Query(bbox=(west, south, middle, north), max_items=1), FILL)
    assert report.failed == ()
    clear = read(tmp_path / FOLDER / "S2A_32TMT_0" / "clear.tif")
    assert clear.shape[0] == 4
    assert 38 <= clear.shape[2] <= 44
    item = json.loads((tmp_path / FOLDER / "S2A_32TMT_0" / "item.json").read_text())
    assert item["bbox"][2] == pytest.approx(middle, abs=3e-4)
    with rasterio.open(tmp_path / FOLDER / "S2A_32TMT_0" / "clear.tif") as raster:
        assert (raster.bounds.left - 600_000) % 10 == 0


def one_item(tmp_path: Path, assets: dict, geobox, **properties) -> Report:
    item = make_item("one", assets, geobox, **properties)
    with serving(tmp_path, [item]) as server:
        return run(server.url, tmp_path / "out", Query(), FILL)


def test_a_stack_is_done_as_its_bands_are(tmp_path):
    path, geobox = write_stack(tmp_path, "stack")
    bands = [{"name": name} for name in ("B02", "B03", "B04", "B08")]
    assets = {"image": {"href": f"{{base}}/assets/{path.name}", "type": "image/tiff",
                        "eo:bands": bands}}  # fmt: skip
    report = one_item(tmp_path, assets, geobox)
    assert [result.message for result in report.results] == [""]
    assert report.results[0].generated_share > 0.03


def test_a_file_without_a_coordinate_system_takes_that_of_its_item(tmp_path):
    files, geobox = write_scene(tmp_path, "a", crs=False)
    assets = band_assets(files, "{base}/assets/{name}")
    half = geobox.zoom_to((48, 40))
    for band, asset in assets.items():
        grid = half if band == "SCL" else geobox
        asset |= {"proj:shape": list(grid.shape), "proj:transform": list(grid.affine)[:6]}
    report = one_item(tmp_path, assets, geobox)
    assert report.failed == ()
    with rasterio.open(tmp_path / "out" / FOLDER / "one" / "clear.tif") as raster:
        assert raster.crs.to_epsg() == 32632
        assert raster.transform == geobox.affine


OFFSETS = [
    # told in the item, in the pixels, properties, offset that is right
    ({"scale": 1e-4, "offset": -0.1}, 1000, {}, -0.1),
    ({"scale": 1e-4, "offset": -0.1}, 0, {}, 0.0),
    ({"scale": 1e-4, "offset": -0.1}, 0, {"earthsearch:boa_offset_applied": True}, 0.0),
    ({}, 1000, {"s2:processing_baseline": "05.09"}, -0.1),
    ({}, 0, {"s2:processing_baseline": "05.09"}, 0.0),
    ({}, 0, {}, 0.0),
]


@pytest.mark.parametrize(("told", "offset_dn", "properties", "right"), OFFSETS)
def test_of_the_offset_the_pixels_have_the_last_word(tmp_path, told, offset_dn, properties, right):
    files, geobox = write_scene(tmp_path, "a", shape=(520, 516), offset_dn=offset_dn)
    assets = band_assets(files, "{base}/assets/{name}", **told)
    report = one_item(tmp_path, assets, geobox, **properties)
    assert report.failed == ()
    with rasterio.open(tmp_path / "out" / FOLDER / "one" / "clear.tif") as raster:
        assert raster.offsets == pytest.approx((right,) * 4)
    is_odd = told.get("offset") and not offset_dn and not properties
    is_found = not told and offset_dn
    assert any("whatever the catalog says" in note for note in report.results[0].notes) == bool(
        is_odd or is_found
    )


def test_clouds_are_filled_from_other_dates_and_the_choice_is_kept(server, tmp_path):
    options = BatchOptions(reference="auto", network=IMPATIENT, retries=0)
    query = Query(datetime="2026-06-15")
    report = run(server.url, tmp_path, query, options)
    assert [result.message for result in report.results] == [""]
    assert report.results[0].observed_share > 0
    folder = tmp_path / FOLDER / "S2A_32TMT_2"
    assert (read(folder / "provenance.tif") == OTHER_DATE).any()
    links = json.loads((folder / "item.json").read_text())["links"]
    titles = [link["title"] for link in links if link["rel"] == "derived_from"]
    assert titles == ["scene: S2A_32TMT_2", "reference: S2A_32TMT_0"]


def test_radar_for_a_model_that_does_not_look_at_it_is_said(server, tmp_path):
    notes: list[str] = []
    options = BatchOptions({"model": "fill"}, sar_collection="s1", network=IMPATIENT)
    run(server.url, tmp_path, Query(max_items=1), options, on_note=notes.append)
    assert any("does not look at radar" in note for note in notes)


def test_a_job_comes_back_from_json_and_from_pickle_as_it_was(server):
    jobs, _ = plan(server.url, Query(), BatchOptions(reference="auto", network=IMPATIENT))
    for job in jobs:
        there = json.loads(json.dumps(job.to_json()))
        assert Job.from_json(there).to_json() == job.to_json()
        assert Job.from_json(there).digest == pickle.loads(pickle.dumps(job)).digest == job.digest
    assert jobs[2].references[0].id == "S2A_32TMT_0"


def test_a_bug_in_one_item_is_a_value_with_its_kind(server, tmp_path, monkeypatch):
    (job, *_), _ = plan(server.url, Query(), FILL)

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by https://me:word@host/?sig=SECRET")

    monkeypatch.setattr("geodecloud.batch.jobs.decloud", broken)
    result = run_job(job, str(tmp_path))
    assert result.status == "failed"
    assert result.message.startswith("ZeroDivisionError: by https://host/?sig=...")


def test_a_plan_writes_nothing_and_reads_no_pixels(server):
    jobs, failures = plan(server.url, Query(terms=[Term.of("eo:cloud_cover<50")]), FILL)
    assert ([job.id for job in jobs], failures) == (["S2A_32TMT_0", "S2A_32TMT_1"], [])
    assert server.asked() == []


@pytest.mark.parametrize(
    "options",
    [{"decloud": {"references": ["a.tif"]}}, {"decloud": {"feather_m": -1}}, {"retries": -1},
     {"sar_days": 1000}],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused_before_the_search(options):
    with pytest.raises(OptionError):
        BatchOptions(**options)


def test_nothing_found_is_an_error(server: StacServer, tmp_path):
    with pytest.raises(InputError, match="no item"):
        run(server.url, tmp_path, Query(collections=["none"]), FILL)


def test_jobs_of_onnx_models_never_import_torch(server, tmp_path):
    (job, *_), _ = plan(server.url, Query(), BatchOptions(network=IMPATIENT, retries=0))
    (tmp_path / "job.json").write_text(json.dumps(job.to_json()))
    code = (
        "import json, sys\n"
        "from geodecloud.batch import Job, run_job\n"
        f"job = Job.from_json(json.loads(open({str(tmp_path / 'job.json')!r}).read()))\n"
        f"result = run_job(job, {str(tmp_path / 'out')!r}, 1)\n"
        "assert result.status == 'done', result.message\n"
        "assert result.model == 'decloud-s2-4band', result.model\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    model = tmp_path / "out" / "models" / "decloud-s2-4band"
    about = pystac.Item.from_file(model / "stac-item.json")
    assert about.properties["mlm:name"] == "decloud-s2-4band"
    assert all(Path(asset.get_absolute_href()).is_file() for asset in about.assets.values())
    item = json.loads((tmp_path / "out" / FOLDER / "S2A_32TMT_0" / "item.json").read_text())
    assert any(link.get("title") == "model: decloud-s2-4band" for link in item["links"])
