"""The page in a real Chromium: what is seen, heard and pressed, without a complaint of the browser."""

from __future__ import annotations

import pytest

from tests.browser import Browser, loopback_only
from tests.web_desk import Desk, Shown

pytestmark = pytest.mark.needs("chromium")
FIVE = {"pv_w": 2800.0, "soc_pct": 15.0, "battery_w": 0.0, "grid_w": 8540.0, "load_w": 11340.0}
LEASE = {"state": "active", "action": "charge", "power_w": 2000, "ends_in_s": 1480, "text": "Charging with 2000 W"}
# Contrast of every text with what is behind it (WCAG 2.2, 1.4.3); bold from 18.66 px on counts as large.
CONTRAST = """
(() => {
  const rgb = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [.2126, .7152, .0722][at], 0);
  const ground = el => { for (; el; el = el.parentElement) { const c = rgb(getComputedStyle(el).backgroundColor);
    if (c.length === 3 || c[3] > .9) return c; } return [255, 255, 255]; };
  const poor = [];
  for (const el of document.querySelectorAll('body *')) {
    if (![...el.childNodes].some(node => node.nodeType === 3 && node.data.trim()) || el.closest('script, .none, .sr')) continue;
    const style = getComputedStyle(el), svg = el.closest('svg'), px = parseFloat(style.fontSize);
    const a = light(rgb(svg ? style.fill : style.color)), b = light(ground(el));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < (px >= 24 || (px >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5)) poor.push([el.textContent, ratio]);
  }
  return poor;
})()
"""


@pytest.fixture(scope="module")
def browser():
    with Browser() as running:
        yield running


@pytest.fixture
def desk():
    with Desk(sinks=[Shown()]) as made:
        made.an_hour(18.0)
        made.tell(**FIVE)
        yield made


@pytest.fixture
def tab(browser):
    opened = browser.tab()
    yield opened
    opened.close()


def test_the_page_is_live_and_the_browser_has_nothing_to_complain_about(desk, tab):
    tab.go(f"{desk.url}/")
    assert tab.text("#grid") == "importing 8540 W" and tab.text("#state") == "Live"
    assert tab.run("document.getElementById('f_grid').getAttribute('class')") == "flow in"
    assert tab.until(lambda: len(desk.service._web.streams) == 1)
    desk.tell(**{**FIVE, "grid_w": -1100.0})
    assert tab.until(lambda: tab.text("#grid") == "exporting 1100 W")
    assert tab.run("document.getElementById('f_grid').getAttribute('class')") == "flow out"
    assert "exporting 1100 W" in tab.run("document.getElementById('picture').getAttribute('aria-label')")
    assert tab.complaints == [] and loopback_only(tab.requests()) and len(tab.requests()) >= 2


def test_the_policy_really_holds_in_the_browser(desk, tab):
    """What a smuggled text could try is refused: a handler, a foreign picture, a style, a script."""
    tab.go(f"{desk.url}/")
    tab.run("document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,x\" onerror=\"window.hit=1\">"
            "<img src=\"http://127.0.0.1:9/x\"><b style=\"color:red\">x</b>')")
    tab.run("(() => { const s = document.createElement('script'); s.textContent = 'window.hit=2'; document.body.append(s) })()")
    assert tab.until(lambda: len(tab.complaints) >= 4), tab.complaints
    assert all("Content Security Policy" in text for text in tab.complaints), tab.complaints
    assert tab.run("window.hit") is None


def test_the_page_comes_back_by_itself_when_the_bridge_does(browser, tab):
    with Desk() as desk:
        desk.tell(**FIVE)
        port = desk.port
        tab.go(f"{desk.url}/")
        assert tab.until(lambda: len(desk.service._web.streams) == 1)
    assert tab.until(lambda: tab.text("#state") == "Connection lost")
    assert "last ones heard" in tab.text("#reason") and tab.text("#grid") == "importing 8540 W"
    with Desk(f"127.0.0.1:{port}") as desk:
        desk.tell(**{**FIVE, "grid_w": -77.0})
        assert tab.until(lambda: tab.text("#grid") == "exporting 77 W"), tab.text("#state")
        assert tab.text("#state") == "Live" and tab.text("#reason") == ""


def test_without_javascript_the_numbers_are_there_and_the_page_renews_itself(desk, browser):
    tab = browser.tab(script=False)
    tab.go(f"{desk.url}/")
    texts = [name for role, name in tab.named() if role == "StaticText"]
    assert {"2800 W", "15.0 %", "idle", "importing 8540 W", "11340 W", "Live", "up to date"} <= set(texts)
    assert len(desk.service._web.streams) == 0
    desk.tell(**{**FIVE, "grid_w": -1100.0})
    assert tab.until(lambda: ("StaticText", "exporting 1100 W") in tab.named(), 12)
    tab.close()


def test_a_reader_of_the_screen_hears_the_picture_and_the_charts(desk, tab):
    desk.control(LEASE)
    tab.go(f"{desk.url}/")
    named = tab.named()
    images = [name for role, name in named if role == "image"]
    assert len(images) == 6 and all(images), images
    assert images[0] == "Power flow: sun 2800 W; battery 15.0 %, idle; grid importing 8540 W; house 11340 W"
    assert any(image.startswith("Battery, last hour: discharging up to ") for image in images)
    assert {name for role, name in named if role == "region"} >= {"Power flow", "Now", "Battery command", "Connections"}
    roles = {role for role, _ in named}
    assert {"status", "main", "banner", "contentinfo", "DescriptionList", "list", "heading"} <= roles
    terms = [name for role, name in named if role == "term"]
    assert terms == ["Sun", "Battery level", "Battery", "Grid", "House"]


def test_the_numbers_are_no_live_region(desk, tab):
    """Only the state is: five numbers read aloud every second would be noise."""
    tab.go(f"{desk.url}/")
    assert tab.run("[...document.querySelectorAll('[aria-live],[role=status],[role=alert]')].map(e => e.id)") == ["state"]


def test_the_keyboard_reaches_everything_in_order_and_sees_where_it_is(desk, tab):
    tab.go(f"{desk.url}/")
    assert [tab.press_tab() for _ in range(4)] == ["Snapshot", "History", "Metrics", "Health"]
    assert tab.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert tab.run("document.querySelectorAll('a,button,input,[tabindex]').length") == 4


@pytest.mark.parametrize("width", [320, 390, 768, 1180])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_can_be_read_at_every_width(desk, browser, width, dark):
    desk.control(LEASE)
    tab = browser.tab(width, 844, dark)
    tab.go(f"{desk.url}/")
    assert tab.run("document.documentElement.scrollWidth") <= width, "nothing sticks out"
    assert tab.run(CONTRAST) == []
    brightness = tab.run("getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number)[0]")
    assert (brightness < 60) == dark
    tab.close()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_warnings_can_be_read_too(desk, browser, dark):
    tab = browser.tab(dark=dark)
    for told in ({"age_s": 60.0}, {"source": "cloud-openapi", "age_s": 60.0}):
        desk.tell(**{**FIVE, **told})
        tab.go(f"{desk.url}/")
        assert tab.text("#state") in ("Not live", "From the cloud") and tab.run(CONTRAST) == []
    tab.close()


def test_the_contrast_check_can_fail(desk, tab):
    tab.go(f"{desk.url}/")
    tab.run("document.getElementById('grid').style.color = '#ccc'")
    assert [text for text, _ in tab.run(CONTRAST)] == ["importing 8540 W"]


def test_an_old_reading_is_no_number(browser, tab):
    with Desk() as desk:
        desk.tell(age_s=42, **FIVE)
        tab.go(f"{desk.url}/")
        assert tab.text("#state") == "Not live" and tab.text("#grid") == "unknown" and tab.text("#p_grid") == "\u2013"
        assert tab.text("#reason").startswith("Stale: no reading for 4")
        assert tab.run("document.querySelector('.flow.in, .flow.out')") is None
        first = tab.text("#age")
        assert tab.until(lambda: tab.text("#age") != first), "the age goes on by itself"


def test_a_battery_command_is_seen_while_it_lasts(desk, tab, monkeypatch):
    monkeypatch.setattr("bridge.wiring_web.STANDING_S", 0.0)
    seen = "document.getElementById('lease').checkVisibility()"
    tab.go(f"{desk.url}/")
    assert tab.run(seen) is False
    desk.control(LEASE)
    desk.tell(**FIVE)
    assert tab.until(lambda: tab.run(seen) is True)
    assert tab.text("#lease_text") == "Charging with 2000 W" and tab.text("#lease_end") == "ends in 24 min"
    desk.control(None)
    desk.tell(**FIVE)
    assert tab.until(lambda: tab.run(seen) is False)


def test_a_page_that_nobody_looks_at_gives_its_place_back(desk, tab):
    tab.go(f"{desk.url}/")
    streams = desk.service._web.streams
    assert tab.until(lambda: len(streams) == 1)
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});" \
           "document.dispatchEvent(new Event('visibilitychange'))"
    tab.run(hide % "true")

    def left():
        desk.tell(**FIVE)
        return len(streams) == 0

    assert tab.until(left)
    tab.run(hide % "false")
    assert tab.until(lambda: len(streams) == 1)


def test_who_does_not_like_motion_gets_none(desk, tab):
    moving = "getComputedStyle(document.querySelector('.flow.in .dash')).animationName"
    tab.go(f"{desk.url}/")
    assert tab.run(moving) == "run"
    tab.media(dark=False, calm=True)
    assert tab.run(moving) == "none"


def test_beyond_this_machine_the_token_is_asked_for_once_and_the_page_is_live_then(browser, tab):
    with Desk("0.0.0.0:0", "sesame") as desk:
        desk.tell(**FIVE)
        tab.go(f"{desk.url}/")
        assert tab.text("h1") == "sigen-bridge" and tab.text("#grid") is None
        assert any(role == "textbox" and name == "Token" for role, name in tab.named())
        tab.run("document.querySelector('input').value = 'sesame'; document.forms[0].requestSubmit()")
        assert tab.until(lambda: tab.text("#grid") == "importing 8540 W")
        assert tab.run("location.href") == f"{desk.url}/" and tab.run("document.cookie") == ""
        assert tab.until(lambda: len(desk.service._web.streams) == 1)
        desk.tell(**{**FIVE, "grid_w": 0.0})
        assert tab.until(lambda: tab.text("#grid") == "idle")
        tab.go(f"{desk.url}/")
        assert tab.text("#grid") == "idle" and tab.complaints == [], "the browser remembers"
