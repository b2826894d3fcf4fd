"""Signed links: what opens a catalog's storage for an hour, asked for when a link is read."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from geodecloud.errors import NetworkError, OptionError
from geodecloud.geo.fetching import Fetcher, Network
from geodecloud.geo.links import reach_of, redacted

Sign = Callable[[str], str]

TOKENS = "https://planetarycomputer.microsoft.com/api/sas/v1/token"
MARGIN = timedelta(minutes=2)
"""A token that ends sooner is asked for anew: what it opens is still being read."""

_BLOB = re.compile(r"https://([a-z0-9]{3,24})\.blob\.core\.windows\.net/([a-z0-9-]{3,63})/.+")
_SIGNED = re.compile(r"[?&](sig|se|st|sp)=")
_TOKEN = re.compile(r"[\w%.~:=&+/-]+")


class _Token(NamedTuple):
    """The query that opens a container, and until when."""

    query: str
    ends: datetime


class PlanetaryComputer:
    """Signs links to the storage of Microsoft's Planetary Computer.

    A token opens a container; it is asked for once for all of its links, and again before it
    ends. Links to elsewhere, unencrypted ones and those that are signed already stay as they are.

    Args:
        network: how patient to be with the server of the tokens.
        server: that gives them, by account and container.
        key: of a subscription, which is allowed more; empty means none.

    Raises:
        NetworkError: when a link is signed and the server gives no token.
    """

    def __init__(self, network: Network, server: str = TOKENS, key: str = "") -> None:
        """Ask for nothing yet."""
        self._network, self._server, self._key = network, server.rstrip("/"), key
        self._tokens: dict[tuple[str, str], _Token] = {}
        self._lock = threading.Lock()

    def __call__(self, url: str) -> str:
        """Return the link with its signature."""
        match = _BLOB.match(url)
        if match is None or _SIGNED.search(url):
            return url
        place = match[1], match[2]
        with self._lock:
            token = self._tokens.get(place)
            if token is None or datetime.now(UTC) > token.ends - MARGIN:
                token = self._tokens[place] = self._ask(*place)
        return f"{url}{'&' if '?' in url else '?'}{token.query}"

    def _ask(self, account: str, container: str) -> _Token:
        network = replace(self._network, reach=reach_of(self._server))  # the user has chosen it
        secrets = {"Ocp-Apim-Subscription-Key": self._key} if self._key else {}
        fetcher = Fetcher(network, secrets=secrets, origin=self._server)
        url = f"{self._server}/{account}/{container}"
        try:
            said: Any = json.loads(fetcher.fetch(url, limit=1 << 16).content)
            query, ends = str(said["token"]), datetime.fromisoformat(said["msft:expiry"])
            if not _TOKEN.fullmatch(query):
                raise ValueError("no query")
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise NetworkError(
                f"{redacted(url)} answers without a token",
                "JSON with a token, and when it ends",
                "check PC_SDK_SAS_URL, or try again later",
            ) from error
        return _Token(query, ends if ends.tzinfo else ends.replace(tzinfo=UTC))


SIGNERS: Mapping[str, Callable[[Network, str, str], Sign]] = MappingProxyType(
    {"planetary-computer": PlanetaryComputer}
)
"""Who signs links, by the name of the catalog."""


def signer_of(name: str | None, network: Network) -> Sign | None:
    """Return who signs the links of a catalog, the same all through a process; None for none.

    The environment variables of the Planetary Computer's own tools hold: ``PC_SDK_SAS_URL``, who
    gives tokens, and ``PC_SDK_SUBSCRIPTION_KEY``.

    Raises:
        OptionError: nobody has this name.
    """
    if name is None:
        return None
    if name not in SIGNERS:
        raise OptionError(
            f"sign is {name!r}", f"there are {', '.join(SIGNERS)}", "choose one, or leave it out"
        )
    server = os.environ.get("PC_SDK_SAS_URL") or TOKENS
    return _signer(name, network, server, os.environ.get("PC_SDK_SUBSCRIPTION_KEY", ""))


@lru_cache(maxsize=8)
def _signer(name: str, network: Network, server: str, key: str) -> Sign:
    return SIGNERS[name](network, server, key)
