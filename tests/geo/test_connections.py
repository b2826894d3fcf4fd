"""A server that drips for ever, whatever part of its answer, ends in one typed error, in time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from geodecloud.errors import NetworkError
from geodecloud.geo.fetching import Fetcher, Network
from geodecloud.geo.links import Reach

PATIENCE = Network(Reach.LOOPBACK, tries=100, wait_s=0.01, timeout_s=0.5, deadline_s=0.6)
LONGEST_S = 4.0  # twice the deadline, and what a busy machine takes
PAUSE_S = 0.03
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

DRIPS = {
    "status": (b"HTTP/1.1 2", b"0"),
    "a header": (OK + b"X-Long: ", b"a"),
    "headers": (OK, b"X-More: a\r\n"),
    "go on": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": (OK + b"Content-Length: 1000000\r\n\r\n", b"a"),
    "body of no length": (OK + b"Connection: close\r\n\r\n", b"a"),
    "size of a chunk": (CHUNKED, b"0"),
    "chunks": (CHUNKED, b"1\r\na\r\n"),
    "what follows the chunks": (CHUNKED + b"0\r\n", b"X-More: a\r\n"),
    "redirect": (b"HTTP/1.1 302 Found\r\nLocation: /there\r\nX-Long: ", b"a"),
}


class Dripper:
    """Sends ``head`` to whoever asks, and ``drop`` again and again; ``n_asked`` counts them."""

    def __init__(self, head: bytes, drop: bytes) -> None:
        self.head, self.drop, self.n_asked = head, drop, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.released = threading.Event()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        while not self.released.is_set():
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.n_asked += 1
            threading.Thread(target=self.drip, args=(client,), daemon=True).start()

    def drip(self, client: socket.socket) -> None:
        with client:
            try:
                client.recv(65536)
                client.sendall(self.head)
                while not self.released.wait(PAUSE_S):
                    client.sendall(self.drop)
            except OSError:
                return


@contextmanager
def dripping(head: bytes, drop: bytes) -> Iterator[Dripper]:
    server = Dripper(head, drop)
    threading.Thread(target=server.serve, daemon=True).start()
    try:
        yield server
    finally:
        server.released.set()
        server.listener.close()


@pytest.mark.parametrize("what", DRIPS)
def test_an_answer_that_drips_for_ever_is_one_typed_error_in_time(what):
    with dripping(*DRIPS[what]) as server:
        start = time.monotonic()
        with pytest.raises(NetworkError, match="does not answer"):
            Fetcher(PATIENCE).fetch(f"http://{server.place}/a.tif?sig=SECRET")
        assert time.monotonic() - start < LONGEST_S
        assert server.n_asked == 1  # what drips once is not asked again


def test_a_handshake_that_drips_for_ever_ends_in_time():
    record = b"\x16\x03\x03\x3f\xff"  # says that 16 kB of a handshake follow
    with dripping(record, b"\x02") as server:
        start = time.monotonic()
        with pytest.raises(NetworkError):
            Fetcher(PATIENCE).fetch(f"https://{server.place}/a.tif")
        assert time.monotonic() - start < LONGEST_S


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n",
        b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n",
    ],
    ids=["redirects", "failures"],
)
def test_all_tries_and_redirects_together_end_in_time(head):
    """Each answer comes after a while, and asks for another request."""

    class Slow(Dripper):
        def drip(self, client: socket.socket) -> None:
            with client:
                client.recv(65536)
                self.released.wait(0.15)
                client.sendall(self.head + b"Connection: close\r\n\r\n")

    server = Slow(head, b"")
    threading.Thread(target=server.serve, daemon=True).start()
    start = time.monotonic()
    with pytest.raises(NetworkError):
        Fetcher(PATIENCE).fetch(f"http://{server.place}/a.tif")
    assert time.monotonic() - start < LONGEST_S
    assert server.n_asked <= 6
    server.released.set()
    server.listener.close()


def test_a_slow_answer_that_ends_in_time_is_taken():
    with dripping(OK + b"Content-Length: 8\r\n\r\n", b"a") as server:
        answer = Fetcher(PATIENCE).fetch(f"http://{server.place}/a.tif")
    assert answer.content == b"aaaaaaaa"


def test_headers_that_cannot_be_read_leave_no_signature_in_the_log(caplog):
    with dripping(OK + b"Content-Length: 1\r\nno header\r\n\r\n", b"a") as server:
        Fetcher(PATIENCE).fetch(f"http://{server.place}/a.tif?sig=SECRET")
    assert "a.tif?..." in caplog.text
    assert "SECRET" not in caplog.text


def test_an_answer_of_a_proxy_ends_in_time(monkeypatch):
    with dripping(*DRIPS["a header"]) as proxy:
        monkeypatch.setenv("http_proxy", f"http://{proxy.place}")
        monkeypatch.setenv("no_proxy", "")
        start = time.monotonic()
        with pytest.raises(NetworkError):
            Fetcher(PATIENCE).fetch("http://imagery.example.org/a.tif")
        assert time.monotonic() - start < LONGEST_S
        assert proxy.n_asked == 1
