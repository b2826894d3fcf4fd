"""Fetcher: bytes from servers, in bounds: whom it asks, how long it waits, how much it takes."""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, NamedTuple, Self, cast
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError

from geodecloud.errors import NetworkError
from geodecloud.geo.connections import pool_of
from geodecloud.geo.links import Reach, check_reach, is_azure, origin_of, redacted

PIECE_BYTES = 1 << 20
MAX_FILE_BYTES = 8_000_000_000
MAX_REDIRECTS = 5
MAX_WAIT_S = 60.0
"""A server that asks for more patience is asked again after this."""

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that may be others a little later (RFC 9110, RFC 6585)."""

_ADVICE = {
    401: "log in: sign the links, or set the token that this server wants",
    403: "sign the links anew: signatures expire after an hour or so",
    404: "search the catalog again: the file has moved or gone",
}

_CLOSED = frozenset({401, 403, 404, 409})
"""What Azure's storage answers to those who show no signature."""


@dataclass(frozen=True)
class Network:
    """Whom a fetcher may ask, and how patient it is.

    Attributes:
        reach: links that lead further into the own house are refused.
        tries: requests for one thing, where the server or the line fails.
        wait_s: before the second try; then twice as long each time, give or take.
        timeout_s: without a byte, before a try has failed.
        deadline_s: for one thing, all tries and redirects together. A try that begins within it
            ends within as long again, however steadily its answer drips.
    """

    reach: int = Reach.PUBLIC
    tries: int = 5
    wait_s: float = 0.5
    timeout_s: float = 30.0
    deadline_s: float = 600.0

    def to_json(self) -> dict[str, Any]:
        """Return it as numbers."""
        return {**asdict(self), "reach": int(self.reach)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what ``to_json`` has written."""
        return cls(**content)


class Answered(NamedTuple):
    """A server's answer: status, headers by their names in lower case, body."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Fetcher:
    """Asks servers for bytes; follows redirects as far as ``Network.reach``, tries again, gives up.

    Addresses are checked where the connection stands, so neither names that resolve elsewhere the
    second time nor redirects lead to a place that is out of reach.

    Args:
        network: whom to ask and how long to wait.
        secrets: headers that are sent to ``origin`` alone.
        origin: a URL whose scheme, host and port may see the secrets.
        sign: makes of a link the one that is asked for, each time it is; only the server sees it.
    """

    def __init__(
        self,
        network: Network,
        *,
        secrets: Mapping[str, str] | None = None,
        origin: str = "",
        sign: Callable[[str], str] | None = None,
    ) -> None:
        """Ask nobody yet."""
        self.network = network
        self._secrets, self._origin = secrets or {}, origin_of(origin) if origin else None
        self._sign = sign
        self._pools: dict[str | None, urllib3.PoolManager] = {}
        self._jitter = random.Random()

    def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limit: int = 64 << 20,
        into: BinaryIO | None = None,
    ) -> Answered:
        """Return a server's whole answer, status 200 or 206.

        Args:
            url: what is asked.
            method: how.
            headers: sent along.
            body: sent along.
            limit: bytes that an answer in memory may have.
            into: a file that takes the body of a 200, of at most ``MAX_FILE_BYTES``.

        Raises:
            NetworkError: the server does not answer, refuses, or sends more than ``limit`` bytes.
            InputError: the URL, or what it redirects to, is out of reach.
        """
        until = time.monotonic() + self.network.deadline_s
        for left in range(self.network.tries - 1, -1, -1):
            wait_s = self.network.wait_s * 2.0 ** (self.network.tries - 1 - left)
            cause: BaseException | None = None
            try:
                with self._asked(url, method, headers or {}, body, until) as response:
                    status = response.status
                    if status in {200, 206}:
                        sink = into if status == 200 and into is not None else io.BytesIO()
                        most = MAX_FILE_BYTES if sink is into else limit
                        self._receive(response, url, most, sink, until)
                        content = b"" if sink is into else cast(io.BytesIO, sink).getvalue()
                        return Answered(status, _lowered(response.headers), content)
                    wait_s = max(wait_s, _retry_after(response.headers.get("Retry-After")))
                failure = refused(url, status, is_signed=self._sign is not None)
                if status not in PASSING:
                    raise failure
            except (HTTPError, OSError) as error:
                failure, cause = unanswered(url, _reason(error)), error
            wait_s = min(MAX_WAIT_S, wait_s * self._jitter.uniform(0.75, 1.25))
            if left == 0 or time.monotonic() + wait_s > until:
                raise failure from cause
            time.sleep(wait_s)
        raise AssertionError("the last try returns or raises")

    @contextmanager
    def _asked(
        self, url: str, method: str, headers: Mapping[str, str], body: bytes | None, until: float
    ) -> Iterator[Any]:
        """One answer, redirects followed."""
        for _ in range(MAX_REDIRECTS):
            if time.monotonic() > until:
                raise TimeoutError("no end in time")
            check_reach(url, self.network.reach, is_remote=True)
            sent = {"User-Agent": "geodecloud", "Accept-Encoding": "identity", **headers}
            if self._origin and origin_of(url) == self._origin:
                sent |= self._secrets
            patience_s = self.network.timeout_s
            response = self._pool(url).request(
                method, self._sign(url) if self._sign else url, body=body, headers=sent,
                redirect=False, retries=False, preload_content=False, decode_content=False,
                timeout=urllib3.Timeout(min(10.0, patience_s), patience_s),
            )  # fmt: skip
            try:
                target = response.get_redirect_location()
                if not target:
                    yield response
                    return
            finally:
                response.close()
            url = urljoin(url, target)
            if response.status == 303:
                method, body = "GET", None
        raise NetworkError(
            f"{redacted(url)} redirects for ever",
            f"at most {MAX_REDIRECTS} redirects are followed",
            "ask who runs the server",
        )

    def _receive(self, response: Any, url: str, limit: int, sink: BinaryIO, until: float) -> None:
        """Write the body; one that is shorter than announced is a failure of the line."""
        sink.seek(0)
        n_bytes = 0
        while piece := response.read1(PIECE_BYTES):  # what is here, however little
            n_bytes += sink.write(piece)
            if n_bytes > limit:
                raise NetworkError(
                    f"{redacted(url)} sends more than {limit / 1e6:.0f} MB",
                    "answers are bounded",
                    "ask for less at once, or download the file and use it from the disk",
                )
            if time.monotonic() > until:
                raise TimeoutError("no end in time")
        sink.truncate()
        announced = response.headers.get("Content-Length")
        if announced is not None and announced.isdecimal() and int(announced) != n_bytes:
            raise OSError(f"{n_bytes} of {announced} bytes arrived")

    def _pool(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        is_direct = proxy_bypass(parts.hostname or "")
        proxy = None if is_direct else getproxies().get(parts.scheme)
        if proxy not in self._pools:
            self._pools[proxy] = pool_of(self.network.reach, self.network.deadline_s, proxy)
        return self._pools[proxy]


def refused(url: str, status: int, *, is_signed: bool = False) -> NetworkError:
    """The error to raise where a server answers with this status."""
    advice = _ADVICE.get(status, "try again later, or ask who runs the server")
    if status in _CLOSED and is_azure(url) and not is_signed and "sig=" not in url:
        advice = "pass --sign planetary-computer if it is theirs, or sign the links"
    return NetworkError(f"{redacted(url)} answers HTTP {status}", "200, or 206 with a part", advice)


def unanswered(url: str, reason: str) -> NetworkError:
    """The error to raise where a server gives no answer, or half of one."""
    return NetworkError(
        f"{redacted(url)} does not answer ({reason})",
        "a server that can be reached",
        "check the address and the line, or try again later",
    )


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _retry_after(text: str | None) -> float:
    return float(text) if text and text.strip().isdecimal() else 0.0


def _reason(error: BaseException) -> str:
    """A few words for what urllib3 or the system raises; never the URL, which may hold a token."""
    words = {
        "NewConnectionError": "no connection", "NameResolutionError": "the server is not known",
        "ConnectTimeoutError": "no connection in time", "ReadTimeoutError": "no answer in time",
        "ProtocolError": "the connection broke", "IncompleteRead": "the answer broke off",
        "SSLError": "its certificate is not valid", "ProxyError": "the proxy does not answer",
        "TimeoutError": "no end in time",
    }  # fmt: skip
    return words.get(type(error).__name__, "the connection broke")
