"""A small STAC API on 127.0.0.1: search, paging, byte ranges, and faults on demand."""

from __future__ import annotations

import http.server
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

CORE = "https://api.stacspec.org/v1.0.0/"
PLAIN = [
    f"{CORE}core", f"{CORE}collections", f"{CORE}ogcapi-features", f"{CORE}item-search",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
]  # fmt: skip
QUERY = f"{CORE}item-search#query"
OPERATORS = {
    "lt": lambda a, b: a < b, "lte": lambda a, b: a <= b, "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b, "eq": lambda a, b: a == b, "neq": lambda a, b: a != b,
}  # fmt: skip


@dataclass
class Fault:
    """What goes wrong, where, and how often: ``times`` of None is always.

    Kinds: an HTTP status; "reset", "hang", "short", "drip"; "whole" (no ranges), "other range",
    "changing"; "html", "json", "empty", "huge"; "redirect <URL>".
    """

    kind: int | str
    where: str = r"\.tif$"
    times: int | None = None
    after: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    def strikes(self, path: str) -> bool:
        if not re.search(self.where, path):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


class StacServer(http.server.ThreadingHTTPServer):
    """Serves items, and the files below ``root`` under /assets/.

    Attributes:
        items: as JSON; "{base}" in them becomes the server's URL.
        conforms: what the API says it can do.
        page: items a page.
        faults: that strike.
        log: (method, path, headers) of what was asked.
        next_link: a URL that every page's next link leads to, instead of the next page.
        token: the query that opens the files; None, where they are open. It is given under
            /sas/ACCOUNT/CONTAINER, for ``token_life_s``, and another one each time.
    """

    daemon_threads = True

    def __init__(self, root: Path, items: list[dict[str, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root, self.items = root, items
        self.conforms, self.page = [*PLAIN, QUERY], 100
        self.faults: list[Fault] = []
        self.log: list[tuple[str, str, dict[str, str]]] = []
        self.next_link: str | None = None
        self.token: str | None = None
        self.token_life_s = 3600.0
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are no news."""

    def asked(self, pattern: str = r"\.tif$") -> list[dict[str, str]]:
        return [headers for _, path, headers in self.log if re.search(pattern, path)]

    def found(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        return [item for item in self.items if _keeps(item, asked, QUERY in self.conforms)]


@contextmanager
def serving(root: Path, items: list[dict[str, Any]]) -> Iterator[StacServer]:
    """A server that runs in a thread of its own."""
    server = StacServer(root, items)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()


def _keeps(item: dict[str, Any], asked: dict[str, Any], knows_query: bool) -> bool:
    properties = item["properties"]
    if asked.get("ids") and item["id"] not in asked["ids"]:
        return False
    if asked.get("collections") and item["collection"] not in asked["collections"]:
        return False
    if asked.get("bbox"):
        west, south, east, north = asked["bbox"]
        w, s, e, n = item["bbox"]
        if w > east or e < west or s > north or n < south:
            return False
    if asked.get("datetime"):
        first, _, last = asked["datetime"].partition("/")
        at = _time(properties["datetime"])
        if first not in ("", "..") and at < _time(first):
            return False
        if (last or first) not in ("", "..") and at > _time(last or first):
            return False
    for name, terms in (asked.get("query") or {}).items() if knows_query else ():
        if not all(OPERATORS[sign](properties[name], value) for sign, value in terms.items()):
            return False
    return True


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StacServer

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._serve(urllib.parse.urlsplit(self.path).path, asked)

    def do_GET(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        asked: dict[str, Any] = dict(urllib.parse.parse_qsl(parts.query))
        for name, kind in (("collections", str), ("ids", str), ("bbox", float)):
            if name in asked:
                asked[name] = [kind(part) for part in asked[name].split(",")]
        self._serve(parts.path, asked)

    def _serve(self, path: str, asked: dict[str, Any]) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.log.append((self.command, self.path.partition("?")[0], headers))
        fault = next((each for each in self.server.faults if each.strikes(path)), None)
        if fault is not None and self._fail(fault, path):
            return
        if path.startswith("/sas/"):
            self._token()
        elif path.startswith("/assets/"):
            is_open = self.server.token in (None, urllib.parse.urlsplit(self.path).query)
            self._file(path, fault) if is_open else self._send(409, b"")
        elif path == "/search":
            self._page(asked)
        elif path == "/":
            self._json(self._root())
        elif match := re.fullmatch(r"/collections/([^/]+)/items/([^/]+)", path):
            wanted = [i for i in self.server.items if (i["collection"], i["id"]) == match.groups()]
            self._json(self._written(wanted[0])) if wanted else self._send(404, b"")
        else:
            self._send(404, b"{}", "application/json")

    def _root(self) -> dict[str, Any]:
        url = self.server.url
        return {
            "type": "Catalog", "id": "small", "description": "for tests", "stac_version": "1.0.0",
            "conformsTo": self.server.conforms,
            "links": [
                {"rel": "self", "href": url}, {"rel": "root", "href": url},
                {"rel": "search", "href": f"{url}/search", "method": "GET"},
                {"rel": "search", "href": f"{url}/search", "method": "POST"},
            ],
        }  # fmt: skip

    def _token(self) -> None:
        self.server.token = f"se=2026&sig=SECRET{len(self.server.log)}"
        ends = datetime.now(UTC) + timedelta(seconds=self.server.token_life_s)
        self._json({"token": self.server.token, "msft:expiry": f"{ends:%Y-%m-%dT%H:%M:%SZ}"})

    def _page(self, asked: dict[str, Any]) -> None:
        found = self.server.found(asked)
        start = int(asked.get("token") or 0)
        stop = start + min(int(asked.get("limit") or 10), self.server.page)
        links = []
        if stop < len(found) or self.server.next_link:
            url = self.server.next_link or f"{self.server.url}/search"
            links = [
                {"rel": "next", "href": url, "method": "POST", "merge": True,
                 "body": {"token": str(stop)}}
            ]  # fmt: skip
        if self.server.next_link:
            start, stop = 0, len(found)
        features = [self._written(item) for item in found[start:stop]]
        self._json({"type": "FeatureCollection", "features": features, "links": links})

    def _written(self, item: dict[str, Any]) -> dict[str, Any]:
        own = f"{self.server.url}/collections/{item['collection']}/items/{item['id']}"
        linked = {**item, "links": [{"rel": "self", "href": own}]}
        written: dict[str, Any] = json.loads(json.dumps(linked).replace("{base}", self.server.url))
        return written

    def _fail(self, fault: Fault, path: str) -> bool:
        """Answer with a fault; False where the file itself is to be bent."""
        kind = fault.kind
        if isinstance(kind, int):
            self._send(kind, b"no", "text/plain", fault.headers)
        elif kind.startswith("redirect "):
            self._send(302, b"", headers={"Location": kind.partition(" ")[2]})
        elif kind == "html":
            self._send(200, b"<html><body>Please log in</body></html>", "text/html")
        elif kind == "json":
            self._send(200, b'{"message": "no"}', "application/json")
        elif kind == "empty":
            self._send(200, b"")
        elif kind == "reset":
            self.close_connection = True
            self.connection.close()
        elif kind == "hang":
            self.server.released.wait(20)
            self.close_connection = True
        elif kind == "huge":
            self._send(206, b"", headers={"Content-Range": "bytes 0-65535/99999999999999999"})
        else:
            return False
        return True

    def _file(self, path: str, fault: Fault | None) -> None:
        file = (self.server.root / urllib.parse.unquote(path).removeprefix("/assets/")).resolve()
        if not file.is_relative_to(self.server.root.resolve()) or not file.is_file():
            return self._send(404, b"")
        content, kind = file.read_bytes(), fault.kind if fault else ""
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if match is None or kind == "whole":
            return self._send(200, content, "image/tiff", bend=kind)
        start, stop = int(match[1]), min(int(match[2]) + 1, len(content))
        if start >= len(content):
            return self._send(416, b"")
        if kind == "other range":
            start += 1
        tag = f'"{time.monotonic_ns()}"' if kind == "changing" else '"one"'
        part = {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}", "ETag": tag}
        return self._send(206, content[start:stop], "image/tiff", part, bend=kind)

    def _json(self, content: dict[str, Any]) -> None:
        self._send(200, json.dumps(content).encode(), "application/json")

    def _send(
        self,
        status: int,
        content: bytes,
        kind: str = "application/octet-stream",
        headers: dict[str, str] | None = None,
        bend: int | str = "",
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if bend == "short":
            self.close_connection = True
            content = content[: len(content) // 2]
        if bend == "drip":
            for at in range(0, len(content), 64):
                if self.server.released.wait(0.05):
                    return
                self.wfile.write(content[at : at + 64])
                self.wfile.flush()
            return
        self.wfile.write(content)
