"""Links of catalogs: how far into the own house they may lead, and how they are told to others."""

from __future__ import annotations

import ipaddress
import re
import socket
from enum import IntEnum
from urllib.parse import urlsplit
from urllib.request import getproxies, url2pathname

from geodecloud.errors import InputError, NetworkError, OptionError


class Reach(IntEnum):
    """How far into the own house a link may lead: each includes those before it."""

    PUBLIC = 0
    PRIVATE = 1
    LOOPBACK = 2
    FILES = 3


def check_reach(href: str, reach: int, *, is_remote: bool = False) -> None:
    """Refuse a link that leads to another kind of place than it may, without asking anybody.

    Args:
        href: a URL or a path.
        reach: how far it may lead.
        is_remote: files are no answer either.

    Raises:
        InputError: it does.
    """
    scheme = urlsplit(href).scheme.lower()
    if scheme in {"http", "https"}:
        host = host_of(href)
        if host == "localhost" or host.endswith(".localhost"):
            host = "127.0.0.1"
        try:
            check_address(host, reach)
        except ValueError:  # a name: its address is checked where the connection stands
            return
    elif is_remote or not is_file(href):
        raise InputError(
            f"{redacted(href)} is not a link to read",
            "files are read over http and https",
            "choose a catalog whose links begin with https, or download the files",
        )
    elif reach < Reach.FILES:
        raise InputError(
            f"a catalog on a server names the local file {href[:200]}",
            "it has no business on this disk",
            "download the catalog, or pass --allow-local if you trust it",
        )


def check_address(address: str, reach: int) -> None:
    """Refuse an IP address that lies further inside than ``reach``.

    Raises:
        InputError: it does, or it is that of the cloud's own metadata.
        ValueError: it is no address.
    """
    needed = reach_of_address(address)
    if needed is None:
        raise InputError(
            f"a link leads to {address}, where machines in a cloud keep their credentials",
            "imagery does not lie there",
            "do not trust this catalog",
        )
    if needed > reach:
        raise InputError(
            f"a link leads to {address}, inside of this network",
            "a public catalog names public servers",
            "pass --allow-local if you trust it",
        )


def reach_of_address(address: str) -> Reach | None:
    """Return how far inside an address lies; None where no link may ever lead."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_link_local or ip.is_multicast or str(ip) == "fd00:ec2::254":
        return None
    if ip.is_loopback or ip.is_unspecified:
        return Reach.LOOPBACK
    return Reach.PUBLIC if ip.is_global else Reach.PRIVATE


def reach_of(href: str) -> Reach:
    """Return how far inside a catalog of the user's own choice lies: so far may its links lead.

    Raises:
        NetworkError: nobody knows the server.
    """
    if is_file(href):
        return Reach.FILES
    host = host_of(href)
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        if getproxies().get(urlsplit(href).scheme):
            return Reach.PUBLIC  # the proxy knows
        raise NetworkError(
            f"{redacted(href)} does not answer ({host} is not known)",
            "a server that can be reached",
            "check the address and the line",
        ) from error
    return max(reach_of_address(str(entry[4][0])) or Reach.PUBLIC for entry in found)


def is_file(href: str) -> bool:
    """Say whether a link is a path or a ``file:`` URL."""
    scheme = urlsplit(href).scheme.lower()
    return scheme in {"", "file"} or len(scheme) == 1  # one letter is a drive of Windows


def path_of(href: str) -> str:
    """Return the path that a ``file:`` URL or a path names."""
    parts = urlsplit(href)
    return url2pathname(parts.path) if parts.scheme.lower() == "file" else href


def redacted(href: str) -> str:
    """Return a link without what may let others in: user, password, values of its query.

    Example:
        >>> redacted("https://me:secret@host/a.tif?sig=abc&x=1#t")
        'https://host/a.tif?sig=...&x=...'
    """
    parts = urlsplit(href)
    if parts.scheme.lower() not in {"http", "https", "s3", "gs", "ftp"}:
        return href
    query = "&".join(f"{pair.partition('=')[0]}=..." for pair in parts.query.split("&") if pair)
    netloc = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=netloc, query=query, fragment="").geturl()


def redacted_text(text: str) -> str:
    """Return a text whose links are redacted, and bearer tokens as well."""
    text = re.sub(r"[A-Za-z][A-Za-z0-9+]*://[^\s'\"<>]+", lambda m: redacted(m[0]), text)
    return re.sub(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}", r"\1 ...", text)


def host_of(url: str) -> str:
    """Return the server that a URL names.

    Raises:
        OptionError: none.
    """
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    if not host:
        raise OptionError(f"{redacted(url)} names no server", "http(s)://host/...", "correct it")
    return host


def is_azure(url: str) -> bool:
    """Say whether a link leads to a container of Azure's storage."""
    return host_of(url).lower().endswith(".blob.core.windows.net")


def origin_of(url: str) -> tuple[str, str, int]:
    """Return scheme, server and port of a URL: who may see what is meant for one of them."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, host_of(url), parts.port or {"https": 443}.get(scheme, 80)
