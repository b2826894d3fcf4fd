"""Items out of an API, a static catalog and files: those that are wanted, each once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stac_geoparquet.arrow import parse_stac_items_to_parquet

from geodecloud.batch import BatchOptions, plan
from geodecloud.batch.query import Query, Term
from geodecloud.batch.stac import MAX_PAGES, find_items
from geodecloud.errors import InputError
from geodecloud.geo.fetching import Fetcher, Network
from geodecloud.geo.links import Reach
from tests.batch.conftest import IMPATIENT
from tests.batch.stac_server import PLAIN, serving


def ids(source: str, query: Query | None = None, notes: list[str] | None = None) -> list[str]:
    heard = [] if notes is None else notes
    fetcher = Fetcher(Network(Reach.FILES, 2, 0.01, 1.0, 3.0))
    return [item["id"] for item in find_items(source, query or Query(), fetcher, heard.append)]


QUERIES = {
    "all": (Query(), [0, 1, 2]),
    "a collection": (Query(collections=["sentinel-2-l2a"]), [0, 1, 2]),
    "another collection": (Query(collections=["landsat"]), []),
    "here": (Query(bbox=(10.29, 46.03, 10.31, 46.05)), [0, 1, 2]),
    "elsewhere": (Query(bbox=(0, 0, 1, 1)), []),
    "a day": (Query(datetime="2026-06-08"), [1]),
    "a month": (Query(datetime="2026-06"), [0, 1, 2]),
    "until": (Query(datetime="../2026-06-08"), [0, 1]),
    "from": (Query(datetime="2026-06-08/.."), [1, 2]),
    "an instant": (Query(datetime="2026-06-15T10:20:00Z"), [2]),
    "clear": (Query(terms=[Term.of("eo:cloud_cover<=40")]), [0, 1]),
    "neither": (Query(terms=[Term.of("eo:cloud_cover>20"), Term.of("eo:cloud_cover<60")]), [1]),
    "of a platform": (Query(terms=[Term.of("platform=sentinel-2a")]), [0, 1, 2]),
    "of another": (Query(terms=[Term.of("platform!=sentinel-2a")]), []),
    "without the property": (Query(terms=[Term.of("snow>1")]), []),
    "two by their ids": (Query(ids=["S2A_32TMT_2", "S2A_32TMT_0", "none"]), [0, 2]),
    "the first two": (Query(max_items=2), [0, 1]),
}


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("page", [1, 100])
@pytest.mark.parametrize("says", ["that it queries", "that it searches", "nothing"])
def test_a_search_finds_what_is_wanted_whatever_the_server_says(server, name, page, says):
    server.page = page
    server.conforms = {"that it searches": PLAIN, "nothing": []}.get(says, server.conforms)
    query, wanted = QUERIES[name]
    if name == "without the property" and says == "that it queries":
        pytest.skip("a server may answer as it likes")
    assert ids(server.url, query) == [f"S2A_32TMT_{i}" for i in wanted]


def test_a_server_that_cannot_filter_is_said(server):
    server.conforms = PLAIN
    notes: list[str] = []
    ids(server.url, Query(terms=[Term.of("eo:cloud_cover<30")]), notes)
    assert "cannot filter" in notes[0]


def test_a_query_is_sent_where_the_server_knows_it(server):
    server.page = 1
    ids(server.url, Query(terms=[Term.of("eo:cloud_cover<30")]))
    assert len(server.asked("/search")) == 1


@pytest.mark.parametrize("conforms", [[], None, "all", [1, None]])
@pytest.mark.parametrize("name", ["a day", "elsewhere", "neither", "the first two"])
def test_a_server_that_says_nothing_and_filters_nothing_is_used(
    server, monkeypatch, conforms, name
):
    server.conforms = conforms
    monkeypatch.setattr(server, "found", lambda asked: server.items)
    query, wanted = QUERIES[name]
    notes: list[str] = []
    assert ids(server.url, query, notes) == [f"S2A_32TMT_{i}" for i in wanted]
    assert "does not say that it can search" in notes[0]


def test_the_note_of_a_server_that_says_nothing_comes_once(server):
    server.conforms = []
    notes: list[str] = []
    options = BatchOptions({"model": "fill"}, reference="auto", network=IMPATIENT)
    plan(server.url, Query(), options, on_note=notes.append)
    assert len(server.asked("/search")) == 2
    assert len([note for note in notes if "does not say" in note]) == 1


def without_links(server, monkeypatch) -> None:
    whole = server.RequestHandlerClass._root
    monkeypatch.setattr(
        server.RequestHandlerClass, "_root", lambda handler: {**whole(handler), "links": []}
    )


def test_a_server_that_says_it_searches_but_not_where_is_asked_at_the_usual_place(
    server, monkeypatch
):
    without_links(server, monkeypatch)
    assert len(ids(server.url)) == 3


def test_a_server_that_neither_says_nor_shows_a_search_is_refused(server, monkeypatch):
    without_links(server, monkeypatch)
    server.conforms = []
    with pytest.raises(InputError, match="offers no search, and lists no items"):
        ids(server.url)


def test_an_api_of_get_alone_is_searched(server, monkeypatch):
    whole = server.RequestHandlerClass._root

    def without_post(handler):
        root = whole(handler)
        root["links"] = [link for link in root["links"] if link.get("method") != "POST"]
        return root

    monkeypatch.setattr(server.RequestHandlerClass, "_root", without_post)
    assert ids(server.url, Query(bbox=(10.29, 46.03, 10.31, 46.05))) == [
        "S2A_32TMT_0", "S2A_32TMT_1", "S2A_32TMT_2",
    ]  # fmt: skip


def static_catalog(folder: Path, items: list[dict]) -> Path:
    """catalog.json, a collection below it, and items below that, with links up and in circles."""
    (folder / "c").mkdir(parents=True)
    names = []
    for item in items:
        name = f"{item['id']}.json"
        content = json.loads(json.dumps(item).replace("{base}/assets", ".."))
        content["links"] = [{"rel": "parent", "href": "./collection.json"}]
        (folder / "c" / name).write_text(json.dumps(content))
        names.append(name)
    links = [{"rel": "item", "href": f"./{name}"} for name in names]
    links += [{"rel": "child", "href": "../catalog.json"}, {"rel": "item", "href": names[0]}]
    collection = {
        "type": "Collection", "id": "sentinel-2-l2a", "stac_version": "1.0.0", "description": "x",
        "license": "proprietary", "links": links,
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]},
                   "temporal": {"interval": [[None, None]]}},
    }  # fmt: skip
    (folder / "c" / "collection.json").write_text(json.dumps(collection))
    root = {
        "type": "Catalog", "id": "x", "stac_version": "1.0.0", "description": "x",
        "links": [{"rel": "child", "href": "c/collection.json"}],
    }  # fmt: skip
    (folder / "catalog.json").write_text(json.dumps(root))
    return folder / "catalog.json"


@pytest.mark.parametrize("name", QUERIES)
def test_a_static_catalog_is_walked(three_items, tmp_path, name):
    path = static_catalog(tmp_path / "static", three_items[1])
    query, wanted = QUERIES[name]
    assert ids(str(path), query) == [f"S2A_32TMT_{i}" for i in wanted]


def test_a_static_catalog_on_a_server_is_walked(three_items, tmp_path):
    static_catalog(tmp_path / "static", three_items[1])
    with serving(tmp_path, []) as server:
        found = ids(f"{server.url}/assets/static/catalog.json")
    assert found == ["S2A_32TMT_0", "S2A_32TMT_1", "S2A_32TMT_2"]


@pytest.mark.parametrize("kind", ["collection of features", "table", "item"])
def test_files_with_items_are_taken_as_they_are(three_items, tmp_path, kind):
    items = json.loads(json.dumps(three_items[1]).replace("{base}/assets", "."))
    if kind == "table":
        path = tmp_path / "items.parquet"
        parse_stac_items_to_parquet(items, output_path=path)
    elif kind == "item":
        path = tmp_path / "item.json"
        path.write_text(json.dumps(items[1]))
        items = items[1:2]
    else:
        path = tmp_path / "items.json"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    fetcher = Fetcher(Network(Reach.FILES))
    found = list(find_items(str(path), Query(), fetcher, lambda note: None))
    assert [item["id"] for item in found] == [item["id"] for item in items]
    href = found[0]["assets"]["blue"]["href"]
    assert Path(href).parent == tmp_path


def test_links_become_absolute(server):
    (item, *_) = find_items(server.url, Query(), Fetcher(IMPATIENT), lambda note: None)
    assert item["assets"]["blue"]["href"].startswith(f"{server.url}/assets/")
    own = next(link["href"] for link in item["links"] if link["rel"] == "self")
    assert own == f"{server.url}/collections/sentinel-2-l2a/items/S2A_32TMT_0"


def test_pages_without_end_are_an_error(server):
    server.next_link = f"{server.url}/search"
    with pytest.raises(InputError, match="page upon page"):
        ids(server.url)
    assert len(server.log) < MAX_PAGES


def test_an_item_that_is_none_is_left_out_and_said(server):
    properties = {"datetime": "2026-01-01T00:00:00Z"}
    bad = {"id": "bad", "collection": "x", "bbox": [0, 0, 1, 1], "properties": properties}
    server.items = [*server.items, bad]
    notes: list[str] = []
    assert len(ids(server.url, None, notes)) == 3
    assert any("left out bad" in note for note in notes)


VALUES = (None, True, -1, 1e400, "", "x", [], {}, [[]], [None], {"a": 1}, "2026", [1, 2, 3])


def mutated(value: Any, random: np.random.Generator) -> Any:
    """JSON with one place in it changed, taken away or doubled."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = list(value)[random.integers(len(value))]
        changed = dict(value)
        if random.random() < 0.15:
            del changed[key]
        else:
            changed[key] = mutated(value[key], random)
        return changed
    if isinstance(value, list) and value and random.random() < 0.9:
        at = int(random.integers(len(value)))
        return [*value[:at], mutated(value[at], random), *value[at + 1 :]]
    return VALUES[random.integers(len(VALUES))]


@pytest.mark.parametrize("seed", range(5))
def test_mutated_items_are_planned_left_out_or_fail_alone(three_items, tmp_path, seed):
    random = np.random.default_rng(seed)
    items = []
    for i in range(100):
        item = json.loads(json.dumps(three_items[1][i % 3]).replace("{base}/assets", "."))
        for _ in range(int(random.integers(1, 4))):
            item = mutated(item, random)
        items.append(item)
    good = json.loads(json.dumps(three_items[1][0]).replace("{base}/assets", "."))
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [*items, good]}))
    notes: list[str] = []
    jobs, failures = plan(path, Query(bbox=(10, 46, 11, 47)), on_note=notes.append)
    assert jobs
    assert all(failure.message for failure in failures)
    assert len(jobs) + len(failures) + len(notes) <= 101


@pytest.mark.parametrize(
    "content", ["", "[]", "null", "{}", '{"type": "Thing"}', '{"type": "Feature"', "[" * 100_000]
)
def test_what_is_no_catalog_is_one_typed_error(tmp_path, content):
    (tmp_path / "catalog.json").write_text(content)
    with pytest.raises(InputError):
        ids(str(tmp_path / "catalog.json"))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 100])
def test_what_is_no_table_is_one_typed_error(tmp_path, content):
    (tmp_path / "items.parquet").write_bytes(content)
    with pytest.raises(InputError):
        ids(str(tmp_path / "items.parquet"))
