"""What a hostile catalog may try: nothing is read, asked or written that is not its business."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from geodecloud.batch import BatchOptions, Query, plan, run
from geodecloud.batch.jobs import slug
from geodecloud.batch.stac import find_items
from geodecloud.errors import GeodecloudError, InputError
from geodecloud.geo.assets import Asset, open_assets
from geodecloud.geo.fetching import Fetcher, Network
from geodecloud.geo.links import Reach, check_reach, reach_of_address, redacted, redacted_text
from tests.batch.conftest import IMPATIENT
from tests.batch.stac_server import Fault, serving

PUBLIC = Network(Reach.PUBLIC, 1, 0.01, 1.0, 3.0)
FILL = BatchOptions({"model": "fill"}, network=IMPATIENT, retries=0)


@pytest.mark.parametrize(
    "href",
    [
        "http://127.0.0.1:{port}/assets/S2A_32TMT_0_B02.tif",
        "http://localhost:{port}/assets/S2A_32TMT_0_B02.tif",
        "http://2130706433:{port}/assets/S2A_32TMT_0_B02.tif",
        "http://0x7f.1:{port}/assets/S2A_32TMT_0_B02.tif",
        "http://[::ffff:127.0.0.1]:{port}/assets/S2A_32TMT_0_B02.tif",
        "http://0.0.0.0:{port}/assets/S2A_32TMT_0_B02.tif",
    ],
)
def test_a_public_catalog_leads_to_no_server_of_this_machine(server, href):
    asset = Asset(href.format(port=server.server_port), ())
    with pytest.raises(InputError), open_assets([asset], Fetcher(PUBLIC)):
        pass
    assert server.log == []


def test_a_name_that_resolves_to_this_machine_is_no_way_in(server, monkeypatch):
    monkeypatch.setattr(
        "urllib3.util.connection.socket.getaddrinfo",
        lambda host, port, *_, **__: [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        ],
    )
    asset = Asset(f"http://imagery.example.org:{server.server_port}/assets/a.tif", ())
    with (
        pytest.raises(InputError, match="inside of this network"),
        open_assets([asset], Fetcher(PUBLIC)),
    ):
        pass
    assert server.log == []


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("8.8.8.8", Reach.PUBLIC), ("2001:4860:4860::8888", Reach.PUBLIC),
        ("10.1.2.3", Reach.PRIVATE), ("192.168.1.1", Reach.PRIVATE), ("172.16.0.1", Reach.PRIVATE),
        ("100.64.0.1", Reach.PRIVATE), ("fc00::1", Reach.PRIVATE), ("127.0.0.1", Reach.LOOPBACK),
        ("127.8.8.8", Reach.LOOPBACK), ("::1", Reach.LOOPBACK), ("0.0.0.0", Reach.LOOPBACK),
        ("::ffff:10.0.0.1", Reach.PRIVATE), ("169.254.169.254", None), ("fe80::1%eth0", None),
        ("::ffff:169.254.169.254", None), ("fd00:ec2::254", None), ("224.0.0.1", None),
    ],
)  # fmt: skip
def test_every_kind_of_address_is_known(address, reach):
    assert reach_of_address(address) == reach


@pytest.mark.parametrize(
    "href", ["file:///etc/passwd", "/etc/passwd", "../../etc/passwd", "C:\\secret.tif",
             "s3://bucket/a.tif", "ftp://host/a.tif", "/vsicurl/http://host/a.tif", "gopher://x/"],
)  # fmt: skip
def test_a_catalog_on_a_server_names_no_files(href):
    with pytest.raises(InputError):
        check_reach(href, Reach.LOOPBACK)


def test_items_of_a_server_read_no_files_of_this_disk(server, tmp_path):
    for item in server.items:
        item["assets"] = json.loads(
            json.dumps(item["assets"]).replace("{base}/assets", f"file://{server.root}")
        )
    report = run(server.url, tmp_path / "out", Query(), FILL)
    assert [result.status for result in report.results] == ["failed"] * 3
    assert all("--allow-local" in result.message for result in report.results)


def test_a_static_catalog_on_a_server_leads_to_no_files(tmp_path):
    (tmp_path / "secret.json").write_text('{"type": "Feature", "id": "secret"}')
    links = [{"rel": "item", "href": f"file://{tmp_path}/secret.json"}]
    content = {"type": "Catalog", "id": "x", "stac_version": "1.0.0", "description": "x"}
    (tmp_path / "catalog.json").write_text(json.dumps({**content, "links": links}))
    with serving(tmp_path, []) as server:
        href = f"{server.url}/assets/catalog.json"
        found = find_items(href, Query(), Fetcher(IMPATIENT), lambda note: None)
        with pytest.raises(InputError, match="local file"):
            list(found)


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/evil", "..", ".", "a/b", "a\\b", "C:evil", "a\0b", "x" * 500,
             "ü/ö", ".hidden", " ", "CON", "-rf"],
)  # fmt: skip
def test_ids_are_no_paths(name):
    folder = slug(name)
    assert folder
    assert len(folder) < 130
    assert Path(folder).name == folder
    assert not folder.startswith((".", "-"))
    assert (slug(name) == name) == (name == "CON")


def test_ids_that_look_alike_have_folders_of_their_own():
    assert len({slug(name) for name in ("a/b", "a-b", "a:b", "../a-b", "a b")}) == 5


def test_whatever_its_id_an_item_stays_in_the_output_folder(server, tmp_path):
    server.items = [{**server.items[0], "id": "../../../evil", "collection": "../up"}]
    report = run(server.url, tmp_path / "a" / "out", Query(), FILL)
    assert [result.status for result in report.results] == ["done"]
    assert {path.name for path in tmp_path.iterdir()} == {"a"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"out"}


def test_a_folder_that_is_a_link_elsewhere_is_refused(server, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "sentinel-2-l2a").symlink_to(tmp_path / "elsewhere")
    report = run(server.url, tmp_path / "out", Query(max_items=1), FILL)
    assert "leads out of" in report.results[0].message
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_token_is_shown_to_the_catalogs_own_server_alone(three_items):
    folder, items = three_items
    with serving(folder, list(items)) as own, serving(folder, list(items)) as other:
        own.next_link = f"{other.url}/search"
        fetcher = Fetcher(IMPATIENT, secrets={"Authorization": "Bearer SECRET"}, origin=own.url)
        assert len(list(find_items(own.url, Query(), fetcher, lambda note: None))) == 3
        assert all(headers["authorization"] == "Bearer SECRET" for headers in own.asked(""))
        assert other.log
        assert not any("authorization" in headers for headers in other.asked(""))


def test_no_token_or_signature_reaches_a_file_or_a_message(server, tmp_path):
    server.items = json.loads(json.dumps(server.items).replace(".tif", ".tif?sig=SECRET&se=1"))
    server.faults = [Fault(403, where="S2A_32TMT_2_B04")]
    options = BatchOptions({"model": "fill"}, network=IMPATIENT, retries=0, token="TOKEN")
    notes: list[str] = []
    out = tmp_path / "out"
    report = run(server.url, out, Query(), options, on_note=notes.append)
    assert [result.status for result in report.results] == ["done", "done", "failed"]
    told = f"{report.to_json()} {notes} {options}"
    written = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    for secret in ("SECRET", "TOKEN"):
        assert secret not in told
        assert secret.encode() not in written


def test_a_new_signature_makes_no_new_job(server):
    (job, *_), _ = plan(server.url, Query(), FILL)
    signed = json.loads(json.dumps(job.to_json()).replace(".tif", ".tif?sig=one"))
    other = json.loads(json.dumps(job.to_json()).replace(".tif", ".tif?sig=two"))
    assert type(job).from_json(signed).digest == type(job).from_json(other).digest


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("https://a:b@host/x?sig=1&b=2#c", "https://host/x?sig=...&b=..."),
        ("/plain/path?x=1", "/plain/path?x=1"),
        ("s3://key:secret@bucket/x", "s3://bucket/x"),
    ],
)
def test_links_are_told_without_what_lets_others_in(text, wanted):
    assert redacted(text) == wanted
    assert wanted in redacted_text(f"no answer from {text} (Bearer abcdef123456)")
    assert "abcdef123456" not in redacted_text("Authorization: Bearer abcdef123456")


def test_a_raster_bomb_on_a_server_is_refused_before_it_comes(server):
    server.faults = [Fault("huge")]
    asset = Asset(f"{server.url}/assets/S2A_32TMT_0_B02.tif", ())
    with pytest.raises(GeodecloudError), open_assets([asset], Fetcher(IMPATIENT)):
        pass
    assert len(server.log) <= 1
