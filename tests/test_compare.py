"""Before and after: what the page shows, what it does in a browser, and what it refuses."""

import base64
import json
import math
import os
import re
import select
import subprocess
import time
from html.parser import HTMLParser

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from geodecloud.compare import compare, figure_png
from geodecloud.errors import BandError, GridError, OutputError
from geodecloud.geo.masks import CLOUD, SHADOW
from geodecloud.geo.raster import Profile, open_scene, write_array
from geodecloud.geo.scene import ArrayScene, shape_of
from geodecloud.geo.sensors import SENSORS, Band, Sensor
from geodecloud.geo.tiling import Window
from geodecloud.paste import GENERATED, ORIGINAL
from tests.strategies import make_scene, make_sensor, utm_geobox

HOSTILE = "</script><script>window.hit=1</script><img src=x onerror='window.hit=1'>\"'&"


def whole(scene):
    return scene.read(Window.whole(shape_of(scene.geobox)))[0]


def classes_scene(classes, geobox=None):
    sensor = Sensor("classes", (Band("classes", nodata=255, dtype="uint8"),), unit="class")
    return ArrayScene(classes[None].astype(np.uint8), sensor, geobox or utm_geobox(classes.shape))


def cloudy(scene, rows=slice(10, 30), cols=slice(5, 40)):
    """The scene under a cloud, and where it lies."""
    dn = whole(scene).copy()
    dn[:, rows, cols] = 9000
    classes = np.full(dn.shape[1:], ORIGINAL)
    classes[rows, cols] = GENERATED
    return ArrayScene(dn, scene.sensor, scene.geobox), classes_scene(classes, scene.geobox)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The HTML of a comparison of 96x80 pixels with everything on it."""
    after = make_scene()
    before, provenance = cloudy(after)
    out = tmp_path_factory.mktemp("compare") / "page.html"
    return compare(before, after, out, provenance=provenance, metrics={"PSNR": 31.4159, "n": 7})


class Read(HTMLParser):
    """What a page is made of: its tags, its text, its pictures."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self.pictures = [], "", {}
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        if tag == "img":
            self.pictures[attrs["alt"].split(":")[0]] = base64.b64decode(attrs["src"][22:])

    def handle_data(self, data):
        self.text += data + " "

    def picture(self, name, folder):
        """A picture (H, W, 3)."""
        path = folder / "picture.png"
        path.write_bytes(self.pictures[name])
        with open_scene(path) as scene:
            return whole(scene)[:3].transpose(1, 2, 0)


def test_the_page_is_whole_in_itself(page):
    read = Read(page)
    for _, attrs in read.tags:
        for key in ("src", "href", "action", "srcset", "data"):
            assert attrs.get(key, "data:").startswith("data:")
    text = page.read_text("utf-8")
    links = [link for link in re.findall(r"https?://[^'\"\s)]+", text) if "www.w3.org" not in link]
    assert links == []
    assert "@import" not in text


def test_the_same_input_gives_the_same_bytes(page, tmp_path):
    after = make_scene()
    before, provenance = cloudy(after)
    again = compare(
        before, after, tmp_path / "x.html", provenance=provenance, metrics={"PSNR": 31.4159, "n": 7}
    )
    assert again.read_bytes() == page.read_bytes()


def test_clear_pixels_look_alike_on_both_sides(page, tmp_path):
    read = Read(page)
    before, after = read.picture("Before", tmp_path), read.picture("After", tmp_path)
    assert before.shape == after.shape == (96, 80, 3)
    np.testing.assert_array_equal(before[31:], after[31:])
    assert (before[10:30, 5:40] == 255).all()
    assert 1 <= after.min() < 40
    assert after.max() == 255


def test_the_stretch_is_that_of_after(tmp_path):
    """Clouds in before would make the ground dark."""
    after = make_scene()
    flat = compare(after, after, tmp_path / "a.html")
    with_cloud = compare(cloudy(after)[0], after, tmp_path / "b.html")
    assert Read(flat).pictures["After"] == Read(with_cloud).pictures["After"]


def test_figures_and_legend_say_what_was_counted(page):
    text = re.sub(r"\s+", " ", Read(page).text)
    assert "Unchanged, bit for bit 90.89 %" in text
    assert "Valid in both 100.00 %" in text
    assert "PSNR 31.42" in text
    assert "Generated 9.11 %" in text
    assert "80 × 96 px" in text
    assert "EPSG:32632" in text
    assert "10 m pixels" in text


def test_large_scenes_are_thinned_to_2000_px_a_side(tmp_path):
    scene = make_scene((60, 4100), 3)
    page = compare(scene, scene, tmp_path / "page.html")
    assert Read(page).picture("After", tmp_path).shape == (20, 1367, 3)
    assert "1 for 3 × 3" in Read(page).text


def test_pixels_without_a_value_are_see_through(tmp_path):
    dn = whole(make_scene((20, 20), 3))
    dn[:, :5] = 0
    scene = ArrayScene(dn, make_sensor(3), utm_geobox((20, 20)))
    picture = Read(compare(scene, scene, tmp_path / "page.html")).picture("After", tmp_path)
    assert not picture[:5].any()
    assert picture[5:].all()
    chunk = Read(tmp_path / "page.html").pictures["After"]
    assert b"tRNS" + bytes(6) in chunk


def test_a_mask_of_our_classes_is_named_by_class(tmp_path):
    scene = make_scene((40, 50))
    classes = np.zeros((40, 50))
    classes[:10], classes[10:15] = CLOUD, SHADOW
    page = compare(scene, scene, tmp_path / "page.html", mask=classes_scene(classes))
    text = re.sub(r"\s+", " ", Read(page).text)
    assert "Cloud 25.00 %" in text
    assert "Shadow 12.50 %" in text


def test_a_mask_of_anything_else_is_one_class(tmp_path):
    scene = make_scene((40, 50))
    classes = np.zeros((40, 50))
    classes[:10] = 200
    classes[10:20] = 255  # nodata
    page = compare(scene, scene, tmp_path / "page.html", mask=classes_scene(classes))
    assert "Masked 25.00 %" in re.sub(r"\s+", " ", Read(page).text)


@pytest.mark.parametrize(("dtype", "value"), [("int16", -1), ("float32", 0.25), ("uint16", 70_00)])
def test_a_mask_is_whatever_is_not_0(tmp_path, dtype, value):
    scene = make_scene((40, 50))
    dn = np.zeros((1, 40, 50), dtype)
    dn[:, :10] = value
    mask = ArrayScene(dn, make_sensor(1, dtype, None), scene.geobox)
    page = compare(scene, scene, tmp_path / "page.html", mask=mask)
    assert "Masked 25.00 %" in re.sub(r"\s+", " ", Read(page).text)


def test_without_mask_or_provenance_there_is_no_overlay(tmp_path):
    scene = make_scene((40, 50))
    text = compare(scene, scene, tmp_path / "page.html").read_text("utf-8")
    assert 'id="marks"' not in text
    assert 'id="overlay"' not in text


def test_files_are_named_by_their_last_part(tmp_path):
    scene = make_scene((20, 20))
    folder = tmp_path / "a secret place"
    folder.mkdir()
    for name in ("before", "after"):
        write_array(
            folder / f"{name}.tif",
            whole(scene),
            scene.geobox,
            Profile.for_sensor(scene.sensor),
            cog=False,
        )
    page = compare(folder / "before.tif", str(folder / "after.tif"), tmp_path / "page.html")
    assert "before.tif" in page.read_text("utf-8")
    assert "secret" not in page.read_text("utf-8")


def test_names_of_files_bands_and_figures_are_text_and_no_markup(tmp_path):
    page = hostile_page(tmp_path)
    read = Read(page)
    assert [tag for tag, _ in read.tags].count("script") == 2
    assert [tag for tag, _ in read.tags].count("img") == 2
    assert not any("onerror" in attrs for _, attrs in read.tags)
    assert HOSTILE in read.text


def hostile_page(tmp_path):
    bands = tuple(Band(f"{HOSTILE}{i}", scale=1e-4, nodata=0) for i in range(3))
    scene = ArrayScene(whole(make_scene((20, 20), 3)), Sensor("x", bands), utm_geobox((20, 20)))
    scene.path = f"{HOSTILE}.tif".replace("/", "\N{FRACTION SLASH}")
    return compare(scene, scene, tmp_path / "page.html", metrics={HOSTILE: HOSTILE})


def test_bands_that_only_one_scene_has_are_left_out(tmp_path):
    before = make_scene((20, 20), 10)
    after = ArrayScene(whole(before)[:4], make_sensor(4), before.geobox)
    compare(before, after, tmp_path / "page.html")
    other = ArrayScene(whole(before)[:3].astype(np.uint8), SENSORS["rgb"], before.geobox)
    with pytest.raises(BandError, match="red, green, blue"):
        compare(before, other, tmp_path / "other.html")
    assert not (tmp_path / "other.html").exists()


@pytest.mark.parametrize(
    "geobox",
    [
        utm_geobox((20, 21)),
        utm_geobox((20, 20), col=1),
        GeoBox((20, 20), utm_geobox((20, 20)).affine, "EPSG:32633"),
    ],
    ids=["size", "place", "crs"],
)
def test_scenes_of_another_grid_are_refused_naming_both(tmp_path, geobox):
    scene = make_scene((20, 20))
    other = ArrayScene(whole(make_scene(shape_of(geobox))), make_sensor(4), geobox)
    with pytest.raises(GridError, match=r"after lies on .*; before lies on "):
        compare(scene, other, tmp_path / "page.html")
    with pytest.raises(GridError, match=r"mask lies on "):
        compare(scene, scene, tmp_path / "page.html", mask=other)


def test_scenes_without_georeference_are_compared_in_pixels(tmp_path):
    scene = ArrayScene(whole(make_scene((20, 20))), make_sensor(4))
    page = compare(scene, make_scene((20, 20)), tmp_path / "page.html")
    assert "no georeference" in Read(page).text


def test_a_page_that_exists_is_not_replaced_unasked(tmp_path):
    (tmp_path / "page.html").write_text("mine")
    scene = make_scene((20, 20))
    with pytest.raises(OutputError, match="--overwrite"):
        compare(scene, scene, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == "mine"
    compare(scene, scene, tmp_path / "page.html", overwrite=True)


def test_scenes_without_a_valid_pixel_still_make_a_page(tmp_path):
    scene = ArrayScene(np.zeros((3, 20, 20), np.uint16), make_sensor(3), utm_geobox((20, 20)))
    assert "0.00 %" in Read(compare(scene, scene, tmp_path / "page.html")).text


def test_a_figure_holds_the_pictures_side_by_side(tmp_path):
    after = make_scene((300, 200))
    before, provenance = cloudy(after)
    figure_png(before, after, tmp_path / "two.png", max_side_px=150)
    figure_png(before, after, tmp_path / "three.png", provenance=provenance, max_side_px=150)
    for name, shape in (("two", (150, 202)), ("three", (150, 304))):
        with open_scene(tmp_path / f"{name}.png") as scene:
            assert shape_of(scene.geobox) == shape
    with pytest.raises(OutputError, match="--overwrite"):
        figure_png(before, after, tmp_path / "two.png")


# In a browser.


class Browser:
    """One page in a headless Chromium, driven over a pipe by the DevTools protocol."""

    FLAGS = (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--hide-scrollbars", "--remote-debugging-pipe",
    )  # fmt: skip

    def __init__(self, chromium, profile):
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # the protocol is spoken on descriptors 3 and 4
        command = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", command, chromium, *self.FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._rest, self._number, self._session = b"", 0, {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}
        self.call("Page.enable")

    def call(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params, **self._session}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self):
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], 60)
            assert ready, "the browser does not answer"
            part = os.read(self._in, 1 << 20)
            assert part, "the browser has gone"
            self._rest += part
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def open(self, path, width=1000, height=700):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        self.call("Page.navigate", url=path.absolute().as_uri())
        ready = "document.readyState === 'complete' && [...document.images].every(i => i.complete)"
        for _ in range(200):
            if self.get("location.protocol === 'file:' && " + ready):
                return self
            time.sleep(0.05)
        raise AssertionError("the page does not load")

    def get(self, expression):
        """The value of an expression, after the next frame."""
        promise = f"new Promise(done => requestAnimationFrame(() => done({expression})))"
        result = self.call(
            "Runtime.evaluate", expression=promise, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def key(self, key, times=1):
        for _ in range(times):
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def mouse(self, kind, x, y, **more):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def drag(self, start, stop):
        self.mouse("mouseMoved", *start)
        self.mouse("mousePressed", *start, button="left", clickCount=1)
        self.mouse("mouseMoved", *stop, button="left", buttons=1)
        self.mouse("mouseReleased", *stop, button="left", clickCount=1)

    def screenshot(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
        with open_scene(path) as scene:
            return whole(scene)[:3].transpose(1, 2, 0)

    def close(self):
        self._process.terminate()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)


@pytest.fixture(scope="module")
def browser(chromium, tmp_path_factory):
    browser = Browser(chromium, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


AT = "parseFloat(getComputedStyle(stage).getPropertyValue('--at'))"
CLIPS = "['before', 'after'].map(id => getComputedStyle(document.getElementById(id)).clipPath)"
STAGE = (
    "(({left, top, width, height}) => [left, top, width, height])(stage.getBoundingClientRect())"
)
SHOWN = "(({left, top, width}) => [left, top, width])(pictures[0].getBoundingClientRect())"


def test_the_bar_moves_by_keyboard_wherever_the_focus_is(browser, page):
    browser.open(page)
    assert browser.get(AT) == 50
    browser.key("ArrowRight", 10)
    assert browser.get(AT) == 60
    before, after = browser.get(CLIPS)
    assert "40%" in before
    assert "60%" in after
    browser.get("swipe.focus()")
    browser.key("ArrowLeft", 30)
    assert browser.get(AT) == 30
    assert browser.get("swipe.getAttribute('aria-valuetext')") == "30 % before"


def test_the_bar_moves_by_dragging_its_handle_to_the_very_edge(browser, page):
    browser.open(page)
    left, top, width, height = browser.get(STAGE)
    middle = top + height / 2
    browser.drag((left + width / 2, middle), (left + width * 0.8, middle))
    assert browser.get(AT) == pytest.approx(80, abs=0.5)
    browser.drag((left + width * 0.8, middle), (left, middle))
    assert browser.get(AT) == pytest.approx(0, abs=0.5)


def test_each_side_of_the_bar_shows_its_own_scene(browser, tmp_path):
    """White on the left, black on the right, for a bar in the middle and for one moved."""
    ground = ArrayScene(np.full((3, 40, 40), 10, np.uint8), SENSORS["rgb"], utm_geobox((40, 40)))
    sky = ArrayScene(np.full((3, 40, 40), 250, np.uint8), SENSORS["rgb"], ground.geobox)
    browser.open(compare(sky, ground, tmp_path / "page.html"))
    left, top, width, height = browser.get(STAGE)
    row = int(top + height * 0.7)
    for percent in (50, 70):
        shot = browser.screenshot(tmp_path / "shot.png")
        line = int(left + width * percent / 100)
        assert (shot[row, line - 20 : line - 8] > 245).all()
        assert (shot[row, line + 8 : line + 20] < 200).all()
        browser.key("ArrowRight", 20)


def test_wheel_zooms_at_the_pointer_and_zero_fits_again(browser, page):
    browser.open(page)
    _, _, width, height = browser.get(STAGE)
    fitted = browser.get(SHOWN)
    assert fitted[2] == pytest.approx(min(width, height * 80 / 96), abs=1)
    pixel = fitted[2] / 80
    at = (round(fitted[0] + 50.5 * pixel), round(fitted[1] + 40.5 * pixel))
    browser.mouse("mouseMoved", *at)
    place = browser.get("document.getElementById('place').textContent")
    assert place.endswith("row 40, col 50")
    browser.mouse("mouseWheel", *at, deltaX=0, deltaY=-600)
    assert browser.get(SHOWN)[2] > 2 * fitted[2]
    browser.mouse("mouseMoved", *at)
    assert browser.get("document.getElementById('place').textContent") == place
    browser.key("0")
    assert browser.get(SHOWN) == pytest.approx(fitted)


def test_a_zoomed_picture_is_moved_by_dragging_and_never_out_of_view(browser, page):
    browser.open(page)
    left, top, width, _ = browser.get(STAGE)
    browser.key("+", 5)
    start = browser.get(SHOWN)
    browser.drag((left + 100, top + 100), (left + 130, top + 120))
    moved = browser.get(SHOWN)
    assert [moved[i] - start[i] for i in range(2)] == pytest.approx([30, 20], abs=1)
    for _ in range(8):
        browser.drag((left + 50, top + 50), (left + width - 20, top + 60))
    assert browser.get(SHOWN)[0] == pytest.approx(left, abs=1)


def test_the_pointer_reads_coordinates_of_the_ground(browser, page):
    """The first pixel of the UTM test grid begins at 600000 E, 5100000 N."""
    browser.open(page)
    left, top, _ = browser.get(SHOWN)
    browser.mouse("mouseMoved", left + 1, top + 1)
    text = browser.get("document.getElementById('place').textContent")
    assert re.fullmatch(r"60000\d E, (5100000|509999\d) N\s+·\s+row 0, col 0", text)


def test_the_scale_bar_is_as_long_as_it_says(browser, page):
    browser.open(page)
    for _ in range(3):
        label, length = browser.get(
            "[scale.querySelector('span').textContent, scale.querySelector('i').offsetWidth]"
        )
        number, unit = label.split()
        metres = float(number) * {"m": 1, "km": 1000}[unit]
        zoom = browser.get(SHOWN)[2] / 80
        assert length == pytest.approx(metres / 10 * zoom, abs=1)
        assert 40 < length < 190
        browser.key("+", 2)


def test_the_overlay_can_be_hidden_and_shown(browser, page):
    browser.open(page)
    assert browser.get("marks.hidden") is False
    browser.key("m")
    assert browser.get("marks.hidden") is True
    browser.get("overlay.click()")
    assert browser.get("marks.hidden") is False
    assert browser.get("overlay.getAttribute('aria-pressed')") == "true"


def test_blinking_switches_sides_and_comes_back(browser, page):
    browser.open(page)
    browser.key("b")
    assert browser.get(AT) == 0
    browser.key("b")
    assert browser.get(AT) == 50


def test_the_page_fits_a_telephone(browser, page):
    browser.open(page, width=360, height=740)
    assert browser.get("document.scrollingElement.scrollWidth") <= 360
    left, _, width, height = browser.get(STAGE)
    assert (left, width) == (0, 360)
    assert height >= 240


def test_no_name_runs_as_a_script(browser, tmp_path):
    browser.open(hostile_page(tmp_path))
    assert browser.get("window.hit === undefined")
    assert browser.get(AT) == 50, "the page's own script ran"


def test_a_foreign_script_would_not_run_even_on_the_page(browser, page):
    """The content security policy stands behind the escaping."""
    browser.open(page)
    script = "Object.assign(document.createElement('script'), {textContent: 'hit = 1'})"
    browser.get(f"document.body.append({script})")
    assert browser.get("typeof hit") == "undefined"
    browser.get("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"hit = 1\">')")
    assert browser.get("typeof hit") == "undefined"


def test_degrees_have_a_scale_in_metres(browser, tmp_path):
    geobox = GeoBox((40, 50), Affine(1e-4, 0, 11.0, 0, -1e-4, 60.0), "EPSG:4326")
    scene = ArrayScene(whole(make_scene((40, 50))), make_sensor(4), geobox)
    browser.open(compare(scene, scene, tmp_path / "page.html"))
    metres = browser.get("view.metres_per_px")
    assert metres == pytest.approx(1e-4 * 111_195 * math.cos(math.radians(60)), rel=1e-3)
    left, top, _ = browser.get(SHOWN)
    browser.mouse("mouseMoved", left + 1, top + 1)
    text = browser.get("document.getElementById('place').textContent")
    assert text.startswith(("60.00000°, 11.000", "59.99999°, 11.000"))
