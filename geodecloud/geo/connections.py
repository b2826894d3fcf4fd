"""Connections that look at whom they have reached, and wait for no answer for ever."""

from __future__ import annotations

import io
import logging
import re
import socket
import time
from http.client import HTTPResponse
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from geodecloud.errors import GeodecloudError
from geodecloud.geo.links import check_address

_LOGS = ("urllib3.connection", "urllib3.connectionpool")


def pool_of(reach: int, deadline_s: float, proxy: str | None = None) -> urllib3.PoolManager:
    """Return connections whose answers end in time: status, headers and body together.

    Args:
        reach: how far into the own house an address may lie; a proxy looks for itself.
        deadline_s: for one answer, however steadily it drips.
        proxy: that is asked instead; None asks the servers themselves.
    """
    for name in _LOGS:
        logging.getLogger(name).addFilter(_without_queries)

    class Answer(HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
            super().__init__(sock, *args, **options)
            self.fp.close()
            self.fp = io.BufferedReader(_Timed(sock, deadline_s))

    def checked(sock: socket.socket) -> socket.socket:
        try:
            if proxy is None:
                check_address(str(sock.getpeername()[0]), reach)
        except GeodecloudError:
            sock.close()
            raise
        return sock

    class Plain(HTTPConnection):
        response_class = Answer

        def _new_conn(self) -> socket.socket:
            return checked(super()._new_conn())

    class Secure(HTTPSConnection):
        response_class = Answer

        def _new_conn(self) -> socket.socket:
            return checked(super()._new_conn())

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    pool = urllib3.PoolManager(16, maxsize=4)
    if proxy is not None:
        pool = urllib3.ProxyManager(proxy, 16, maxsize=4)
    pool.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return pool


class _Timed(io.RawIOBase):
    """What a server sends, until a moment comes.

    A timeout of a socket counts from byte to byte: a server that drips is never late by it.
    """

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        self._sock, self._patience_s = sock, sock.gettimeout()
        self._until = time.monotonic() + seconds
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("no end in time")
        self._sock.settimeout(min(left_s, self._patience_s or left_s))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _without_queries(record: logging.LogRecord) -> bool:
    """Take out of a line of urllib3's log what may let others in; the line itself stays."""
    record.msg, record.args = re.sub(r"\?[^\s\"')]+", "?...", record.getMessage()), ()
    return True
