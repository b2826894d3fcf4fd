"""Assets of the usual catalogs are found by their bands, with what is said of their numbers."""

from __future__ import annotations

import pytest

from geodecloud.batch.conventions import choose_assets
from geodecloud.batch.pairing import clearest_dates, nearest_radar
from geodecloud.errors import BandError
from geodecloud.geo.assets import Asset, AssetBand
from tests.batch.stac_items import COG, make_item
from tests.strategies import utm_geobox

GRID = utm_geobox((96, 80))
WANTED = ("B02", "B03", "B04", "B08")


def asset(href: str, kind: str = COG, **more):
    return {"href": href, "type": kind, "roles": ["data"], **more}


EARTH_SEARCH = {
    "aot": asset("AOT.tif"),
    "blue": asset("B02.tif", **{"raster:bands": [{"scale": 1e-4, "offset": -0.1, "nodata": 0}]}),
    "green": asset("B03.tif"), "red": asset("B04.tif"), "nir": asset("B08.tif"),
    "nir08": asset("B8A.tif"), "scl": asset("SCL.tif"), "visual": asset("TCI.tif"),
    "blue-jp2": asset("B02.jp2", "image/jp2", **{"eo:bands": [{"name": "blue"}]}),
    "nir-jp2": asset("B08.jp2", "image/jp2", **{"eo:bands": [{"common_name": "nir"}]}),
    "thumbnail": {"href": "t.jpg", "type": "image/jpeg", "roles": ["thumbnail"]},
    "granule_metadata": {"href": "m.xml", "type": "application/xml"},
}  # fmt: skip
PLANETARY_COMPUTER = {
    **{name: asset(f"{name}_10m.tif", **{"eo:bands": [{"name": name}]}) for name in WANTED},
    "B8A": asset("B8A.tif"), "SCL": asset("SCL_20m.tif"), "visual": asset("TCI.tif"),
    "preview": asset("p.tif", **{"roles": ["overview"]}),
}  # fmt: skip
STACK = {"image": asset("all.tif", **{"eo:bands": [{"name": name} for name in WANTED]})}
STACK_1_1 = {
    "data": asset(
        "all.tif",
        bands=[
            {"name": f"band{i}", "eo:common_name": word, "raster:scale": 1e-4, "nodata": 0}
            for i, word in enumerate(("blue", "green", "red", "nir"))
        ],
    )
}


def names(assets: tuple[Asset, ...]) -> list[tuple[str, ...]]:
    return [tuple(band.name for band in each.bands) for each in assets]


@pytest.mark.parametrize("assets", [EARTH_SEARCH, PLANETARY_COMPUTER], ids=["earth", "planetary"])
def test_bands_of_the_usual_catalogs_are_found(assets):
    chosen = choose_assets(make_item("a", assets, GRID), WANTED, optional=["SCL"])
    assert names(chosen) == [("B02",), ("B03",), ("B04",), ("B08",), ("SCL",)]
    assert not any(each.href.endswith("jp2") for each in chosen)


@pytest.mark.parametrize("assets", [STACK, STACK_1_1], ids=["eo:bands", "bands"])
def test_a_stack_is_found_by_its_bands(assets):
    chosen = choose_assets(make_item("a", assets, GRID), WANTED, optional=["SCL"])
    assert names(chosen) == [WANTED]


def test_what_is_only_there_as_jpeg_2000_is_taken_so():
    assets = {key: value for key, value in EARTH_SEARCH.items() if key != "blue"}
    (chosen,) = choose_assets(make_item("a", assets, GRID), ["B02"])
    assert chosen.href == "B02.jp2"


def test_a_band_that_is_not_there_is_named():
    with pytest.raises(BandError, match="no asset for B11"):
        choose_assets(make_item("a", EARTH_SEARCH, GRID), ["B02", "B11"])


@pytest.mark.parametrize(
    ("properties", "offset"), [({}, -0.1), ({"earthsearch:boa_offset_applied": True}, 0.0)]
)
def test_an_offset_that_was_applied_is_not_taken_again(properties, offset):
    item = make_item("a", EARTH_SEARCH, GRID, **properties)
    (chosen,) = choose_assets(item, ["B02"])
    assert chosen.bands == (AssetBand("B02", 1e-4, offset, 0),)
    assert not chosen.is_shifted


@pytest.mark.parametrize(
    ("properties", "is_shifted"),
    [
        ({"s2:processing_baseline": "05.09"}, True), ({"s2:processing_baseline": "02.14"}, False),
        ({"processing:version": "04.00"}, True), ({}, False),
        ({"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True}, False),
    ],
)  # fmt: skip
def test_numbers_may_be_shifted_since_baseline_four(properties, is_shifted):
    item = make_item("a", PLANETARY_COMPUTER, GRID, **properties)
    assert choose_assets(item, ["B04"])[0].is_shifted == is_shifted


@pytest.mark.parametrize(
    ("collection", "properties", "level"),
    [
        ("sentinel-2-l2a", {}, "L2A"), ("sentinel-2-l1c", {}, "L1C"), ("s2", {}, None),
        ("s2", {"s2:product_type": "S2MSI2A"}, "L2A"), ("s2", {"processing:level": "L1C"}, "L1C"),
    ],
)  # fmt: skip
def test_the_level_is_read_where_it_is_told(collection, properties, level):
    item = make_item("a", STACK, GRID, collection=collection, **properties)
    assert choose_assets(item, ["B02"])[0].level == level


@pytest.mark.parametrize(
    "told", [{"proj:code": "EPSG:32633"}, {"proj:code": None, "proj:epsg": 32633}]
)
def test_the_place_is_read_where_it_is_told(told):
    assets = {"image": {**STACK["image"], **told, "proj:shape": [5, 4],
                        "proj:transform": [10, 0, 6e5, 0, -10, 5e6, 0, 0, 1]}}  # fmt: skip
    grid = choose_assets(make_item("a", assets, GRID), ["B02"])[0].grid
    assert grid.crs == "EPSG:32633"
    assert grid.shape == (5, 4)
    assert grid.affine.c == 600_000


def test_an_asset_comes_back_from_json_as_it_was():
    for each in choose_assets(make_item("a", EARTH_SEARCH, GRID), WANTED):
        assert Asset.from_json(each.to_json()) == each


def dated(name: str, day: str, cloud: float, **options):
    return make_item(name, STACK, GRID, at=f"{day}T10:20:00Z", cloud_cover=cloud, **options)


def test_the_clearest_dates_of_the_same_place_come_first():
    item = dated("a", "2026-06-15", 60)
    others = [
        item, dated("near", "2026-06-20", 10), dated("nearer", "2026-06-14", 10),
        dated("clear", "2026-07-30", 1), dated("cloudy", "2026-06-16", 50),
        dated("late", "2026-09-15", 0), dated("third", "2026-06-01", 20),
        make_item("elsewhere", STACK, utm_geobox((96, 80), row=5000), cloud_cover=0),
        dated("same pass", "2026-06-15", 0),
    ]  # fmt: skip
    assert [each["id"] for each in clearest_dates(item, others)] == ["clear", "nearer", "near"]


def test_radar_is_paired_by_place_and_date():
    item = dated("a", "2026-06-15", 60)
    others = [
        dated("far", "2026-06-30", 0),
        dated("b", "2026-06-17", 0),
        dated("c", "2026-06-14", 0),
    ]
    others.append(make_item("half", STACK, utm_geobox((96, 80), row=48), at="2026-06-15T09:00:00Z"))
    assert nearest_radar(item, others, 3)["id"] == "c"
    assert nearest_radar(item, others[:1], 3) is None
