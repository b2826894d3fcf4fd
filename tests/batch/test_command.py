"""geodecloud batch: what is asked becomes a catalog, a table and an exit code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from geodecloud.cli.main import root
from geodecloud.cli.progress import Reporter
from tests.batch.stac_server import Fault


def call(*arguments: object, **options) -> Result:
    return CliRunner().invoke(
        root, ["batch", *map(str, arguments)], obj=Reporter(), standalone_mode=False, **options
    )


def test_scenes_of_an_api_become_a_catalog_and_a_table(server, tmp_path):
    which = ("--datetime", "2026-06-01/2026-06-10", "--query", "eo:cloud_cover<50")
    result = call("--stac", server.url, "--out", tmp_path, "--model", "fill", *which)
    assert result.exception is None, result.output
    assert result.return_value in (0, None)
    assert "2 done, 0 skipped, 0 failed; 2 in" in result.output
    assert "S2A_32TMT_1" in result.output
    assert (tmp_path / "catalog.json").is_file()
    assert (tmp_path / "items.parquet").is_file()


def test_failed_items_are_one_line_each_and_exit_3(server, tmp_path):
    server.faults = [Fault(404, where="S2A_32TMT_0_B03")]
    result = call("--stac", server.url, "--out", tmp_path, "--model", "fill", "--retries", 0,
                  "--progress", "json", "--max-items", 2)  # fmt: skip
    assert result.return_value == 3
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert "S2A_32TMT_0" in line
    assert "HTTP 404" in line
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert events[0]["event"] == "start"
    assert events[-1]["event"] == "result"
    assert (events[-1]["done"], events[-1]["failed"]) == (1, 1)
    assert [event["done"] for event in events if event["event"] == "progress"] == [0, 1, 2]


def test_a_dry_run_names_the_items_and_writes_nothing(server, tmp_path):
    out = tmp_path / "out"
    result = call("--stac", server.url, "--out", out, "--dry-run", "--reference", "auto")
    assert result.exception is None, result.output
    assert "3 to do, 0 cannot be done; nothing was written" in result.output
    assert not out.exists()
    result = call("--stac", server.url, "--out", out, "--dry-run", "--progress", "json")
    said = json.loads(result.stdout.splitlines()[-1])
    assert [item["id"] for item in said["items"]] == [f"S2A_32TMT_{i}" for i in range(3)]
    assert said["items"][0]["href"].startswith(server.url)


def test_one_item_can_be_named_by_its_link(server, tmp_path):
    href = f"{server.url}/collections/sentinel-2-l2a/items/S2A_32TMT_1"
    result = call("--stac", href, "--out", tmp_path, "--model", "fill")
    assert "1 done" in result.output


def test_the_token_comes_from_the_environment_alone(server, tmp_path, monkeypatch):
    monkeypatch.setenv("GEODECLOUD_STAC_TOKEN", "SECRET")
    result = call("--stac", server.url, "--out", tmp_path, "--dry-run")
    assert "SECRET" not in result.output
    assert {headers.get("authorization") for headers in server.asked("/search")} == {
        "Bearer SECRET"
    }


def test_links_are_signed_where_it_is_asked(server, tmp_path, monkeypatch):
    monkeypatch.setenv("PC_SDK_SAS_URL", f"{server.url}/sas")
    monkeypatch.setattr(
        "geodecloud.geo.signing._BLOB", re.compile(r"http://(127)[.:\d]+/(assets)/.+")
    )
    server.token = "not=yet"
    wanted = ("--stac", server.url, "--out", tmp_path, "--model", "fill", "--max-items", 1)
    result = call(*wanted, "--sign", "planetary-computer", "--progress", "json")
    assert result.return_value in (0, None), result.output
    assert server.asked("/sas/")
    assert "SECRET" not in result.output


def test_uncertainty_of_a_model_that_knows_none_is_one_error_before_any_search(server, tmp_path):
    wanted = ("--stac", server.url, "--out", tmp_path / "out", "--model", "fill")
    result = call(*wanted, "--uncertainty")
    assert "fill does not say how uncertain it is" in str(result.exception)
    assert server.log == []
    assert call(*wanted, "--max-items", 1).return_value in (0, None)


def test_an_area_can_be_a_file(server, tmp_path):
    area = tmp_path / "area.geojson"
    area.write_text(json.dumps(server.items[0]["geometry"]))
    result = call("--stac", server.url, "--out", tmp_path / "o", "--intersects", area, "--dry-run")
    assert "3 to do" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("--bbox", "1,2,3"), ("--bbox", "5,0,1,1"), ("--query", "cloudy"), ("--datetime", "soon"),
        ("--engine", "dask", "--workers", "0"), ("--scheduler", "tcp://127.0.0.1:1"),
        ("--max-items", "0"), ("--intersects", "missing.geojson"), ("--batch-size", "many"),
        ("--model", "no-such-model"), ("--sign", "somebody"), ("--collections", "no-such"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_error_and_writes_nothing(server, tmp_path, arguments):
    out = tmp_path / "out"
    result = call("--stac", server.url, "--out", out, *arguments)
    assert result.exception is not None
    assert "Traceback" not in result.output
    assert not [path for path in out.rglob("*") if path.is_file()] or not Path(out).exists()
