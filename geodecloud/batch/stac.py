"""Items of a catalog: searched at an API, walked in a static one, or read from a file."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import pystac
import pystac_client
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from pystac_client.warnings import PystacClientWarning
from shapely.errors import ShapelyError

from geodecloud.batch.query import Item, Query
from geodecloud.errors import InputError, MissingExtraError
from geodecloud.geo.fetching import Fetcher
from geodecloud.geo.links import check_reach, is_file, path_of, redacted

PAGE_ITEMS = 100
MAX_PAGES = 1_000
MAX_LINKS = 100_000
"""Pages of a search, and documents of a static catalog, that are read at most."""

MAX_JSON_BYTES = 64_000_000
MAX_TABLE_BYTES = 2_000_000_000

# What pystac raises over content that is no STAC.
_FAILURES = (
    pystac.STACError, pystac.STACTypeError, APIError, ShapelyError, InputError,
    ValueError, TypeError, LookupError, AttributeError, RecursionError, ArithmeticError,
)  # fmt: skip

Note = Callable[[str], None]


def find_items(source: str, query: Query, fetcher: Fetcher, on_note: Note) -> Iterator[Item]:
    """Yield the items of a catalog that are wanted, as JSON with absolute links, each once.

    Args:
        source: the URL of a STAC API, of a static catalog, of an item or of a file with items; or
            the path of one: catalog.json, items.json, items.parquet.
        query: which of them; what the server cannot filter is filtered here.
        fetcher: asks the servers.
        on_note: told what the user should know.

    Raises:
        NetworkError: a server does not answer as it should.
        InputError: this is no catalog, or it has no end.
    """
    seen: set[tuple[str, str]] = set()
    n_found = 0
    for item in _all_items(source, query, fetcher, on_note):
        key = (str(item.get("collection")), item["id"])
        if key in seen:
            continue
        seen.add(key)
        yield item
        n_found += 1
        if n_found == query.max_items:
            return


def _all_items(source: str, query: Query, fetcher: Fetcher, on_note: Note) -> Iterator[Item]:
    documents = _Documents(fetcher)
    href = source if not is_file(source) else str(Path(path_of(source)).absolute())
    if urlsplit(href).path.endswith(".parquet"):
        table = _of_table(documents.read_bytes(href, MAX_TABLE_BYTES), href)
        yield from _wanted(table, href, query, on_note)
        return
    root = documents.read(href)
    if _is_api(root) and not is_file(href):
        found = _searched(root, href, query, documents, on_note)
    else:
        found = _walked(root, href, query, documents)
    yield from _wanted(found, href, query, on_note)


class _Documents(StacApiIO):
    """Reads what pystac-client asks for: every request goes through the fetcher."""

    def __init__(self, fetcher: Fetcher) -> None:
        super().__init__(max_retries=None)
        self.fetcher = fetcher

    def read(self, href: str) -> dict[str, Any]:
        return _parsed(self.read_bytes(href, MAX_JSON_BYTES), href)

    def read_bytes(self, href: str, limit: int) -> bytes:
        check_reach(href, self.fetcher.network.reach)
        if not is_file(href):
            return self.fetcher.fetch(href, limit=limit).content
        path = Path(path_of(href))
        try:
            if path.stat().st_size > limit:
                raise InputError(
                    f"{path} has more than {limit / 1e6:.0f} MB",
                    "catalogs are read whole",
                    "split it, or search it by an API",
                )
            return path.read_bytes()
        except OSError as error:
            raise InputError(
                f"{path} cannot be read ({error.strerror})",
                "a catalog is a URL or a file",
                "check the name",
            ) from error

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        # headers that a link of a page asks for are left out: whoever wrote it is not the user
        asked = parameters or {}
        if (method or "GET").upper() != "POST":
            sign = "&" if "?" in href else "?"
            url = f"{href}{sign}{urlencode(asked)}" if asked else href
            answer = self.fetcher.fetch(url, limit=MAX_JSON_BYTES)
        else:
            kind = {"Content-Type": "application/json"}
            body = json.dumps(asked).encode()
            answer = self.fetcher.fetch(
                href, method="POST", headers=kind, body=body, limit=MAX_JSON_BYTES
            )
        page = _parsed(answer.content, href)
        is_root = page.get("type") in {"Catalog", "Collection"}
        if not (is_root or isinstance(page.get("features"), list)):
            raise _no_catalog(href, "a page of it holds no features")
        return json.dumps(page)


def _searched(
    root: dict[str, Any], href: str, query: Query, documents: _Documents, on_note: Note
) -> Iterator[tuple[Any, str]]:
    """What a STAC API finds, page by page; never more pages than bounded, never one twice."""
    try:
        links = [link for link in root["links"] if link.get("rel") == "search"]
        method = "POST" if any(link.get("method") == "POST" for link in links) else "GET"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PystacClientWarning)
            content = {**root, "conformsTo": _said(root)}
            client = pystac_client.Client.from_dict(content, href=href)
            client._stac_io = documents
            if not client.conforms_to(pystac_client.ConformanceClasses.ITEM_SEARCH):
                on_note(
                    "the server does not say that it can search (item-search in conformsTo): it "
                    "is asked all the same, and items are filtered here"
                )
                client.add_conforms_to("ITEM_SEARCH")  # pystac-client asks nobody else
            knows_query = client.conforms_to(pystac_client.ConformanceClasses.QUERY)
            asked = query.for_server(knows_query=knows_query)
            search = client.search(method=method, limit=PAGE_ITEMS, **asked)
    except _FAILURES as error:
        raise _no_catalog(href, "its root cannot be understood") from error
    if query.terms and not knows_query:
        on_note("the server cannot filter by properties: items are filtered here")
    before: set[str] = set()
    for number, page in enumerate(search.pages_as_dicts(), 1):
        features = page["features"]
        names = {f"{f.get('collection')}/{f.get('id')}" for f in features if isinstance(f, dict)}
        if number > MAX_PAGES or (names and names <= before):
            raise InputError(
                f"{redacted(href)} gives page upon page",
                f"at most {MAX_PAGES} pages, each with new items",
                "narrow the search, or ask who runs the server",
            )
        before |= names
        yield from ((feature, href) for feature in features)


def _walked(
    root: dict[str, Any], href: str, query: Query, documents: _Documents
) -> Iterator[tuple[Any, str]]:
    """The items of a static catalog, of a collection of features, or one item."""
    todo: list[tuple[dict[str, Any] | None, str]] = [(root, href)]
    seen = {href}
    has_items = False
    while todo:
        content, at = todo.pop()
        content = documents.read(at) if content is None else content
        kind = content.get("type")
        has_items |= kind not in {"Catalog", "Collection"}
        if kind == "Feature":
            yield content, at
        elif kind == "FeatureCollection":
            yield from ((feature, at) for feature in content.get("features") or ())
        elif kind in {"Catalog", "Collection"}:
            is_other = query.collections and content.get("id") not in query.collections
            if kind == "Collection" and is_other:
                has_items = True  # it may
                continue
            found = [
                _joined(at, str(link.get("href")))
                for link in content.get("links") or ()
                if isinstance(link, dict) and link.get("rel") in {"child", "item"}
            ]
            new = [link for link in dict.fromkeys(found) if link not in seen]
            seen.update(new)
            if len(seen) > MAX_LINKS:
                raise InputError(
                    f"{redacted(href)} leads to more than {MAX_LINKS} documents",
                    "a static catalog is walked whole",
                    "name one of its parts, or search it by an API",
                )
            todo += [(None, link) for link in reversed(new)]
        else:
            raise _no_catalog(at, f"its type is {kind!r}")
    if not has_items:
        raise _no_catalog(href, "it offers no search, and lists no items")


def _of_table(content: bytes, href: str) -> Iterator[tuple[Any, str]]:
    """The items of a stac-geoparquet file."""
    try:
        import pyarrow
        import pyarrow.parquet
        from stac_geoparquet.arrow import stac_table_to_items
    except ImportError as error:
        raise MissingExtraError("stac-geoparquet", "batch", "reading items.parquet") from error
    try:
        table = pyarrow.parquet.read_table(io.BytesIO(content))
        yield from ((item, href) for item in stac_table_to_items(table))
    except (pyarrow.ArrowException, *_FAILURES) as error:
        raise _no_catalog(href, "it is no table of items") from error


def _wanted(
    found: Iterator[tuple[Any, str]], href: str, query: Query, on_note: Note
) -> Iterator[Item]:
    """Items as the current version of STAC has them; what is none is left out, and said."""
    for content, at in found:
        try:
            item = pystac.Item.from_dict(content, href=at, migrate=True)
            own = item.get_single_link("self")
            if own is None or own.target == at:
                item.set_self_href(_joined(at, _link(content, "self") or at))
            item.make_asset_hrefs_absolute()
            plain: dict[str, Any] = item.to_dict(transform_hrefs=False)
            if not (isinstance(plain["id"], str) and plain["id"]):
                raise ValueError("no id")
            if not isinstance(plain.get("collection"), str | None):
                raise ValueError("its collection is no id")
            is_wanted = query.keeps(plain)
        except _FAILURES as error:
            name = content.get("id") if isinstance(content, dict) else None
            reason = type(error).__name__
            on_note(f"left out {name or 'an entry'} of {redacted(href)}: no STAC item ({reason})")
        else:
            if is_wanted:
                yield plain


def _is_api(root: dict[str, Any]) -> bool:
    """Whether there is a search: a link to one, or the word of the server."""
    return _link(root, "search") is not None or any("item-search" in each for each in _said(root))


def _said(root: dict[str, Any]) -> list[str]:
    """What a server says that it conforms to."""
    said = root.get("conformsTo")
    return [each for each in said if isinstance(each, str)] if isinstance(said, list) else []


def _link(content: dict[str, Any], rel: str) -> str | None:
    links = content.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == rel:
            return str(link.get("href"))
    return None


def _joined(at: str, href: str) -> str:
    if is_file(at) and is_file(href):
        return str(Path(path_of(at)).parent.joinpath(path_of(href)).resolve())
    return urljoin(at, href)


def _parsed(content: bytes, href: str) -> dict[str, Any]:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _no_catalog(href, "it is no JSON") from error
    if not isinstance(parsed, dict):
        raise _no_catalog(href, "it is no JSON object")
    return parsed


def _no_catalog(href: str, reason: str) -> InputError:
    return InputError(
        f"{redacted(href)} is no catalog ({reason})",
        "a STAC API, a static catalog, a FeatureCollection, an item or stac-geoparquet",
        "check the address; the root of an API often ends with /v1",
    )
