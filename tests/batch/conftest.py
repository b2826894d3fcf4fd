"""A STAC API with three small scenes, and the patience of a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from geodecloud.geo.fetching import Fetcher, Network
from geodecloud.geo.links import Reach
from tests.batch.stac_items import cog_items
from tests.batch.stac_server import StacServer, serving

IMPATIENT = Network(Reach.LOOPBACK, tries=3, wait_s=0.01, timeout_s=1.0, deadline_s=3.0)


@pytest.fixture(scope="session")
def three_items(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    """Files and items as Earth Search has them."""
    folder = tmp_path_factory.mktemp("assets")
    return folder, cog_items(folder, 3)


@pytest.fixture
def server(three_items: tuple[Path, list[dict]]) -> Iterator[StacServer]:
    """A server of its own for each test: its faults and its log are the test's."""
    folder, items = three_items
    with serving(folder, [dict(item) for item in items]) as running:
        yield running


@pytest.fixture
def network() -> Network:
    return IMPATIENT


@pytest.fixture
def fetcher(network: Network) -> Fetcher:
    return Fetcher(network)
