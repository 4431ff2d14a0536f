"""Answers, steps and report of a commissioning: decided without touching anything."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from bridge import ini
from bridge.control import commission_report
from bridge.control.commission import TEMPLATE, Answers, Device, read
from bridge.control.commission_steps import (
    ALREADY,
    DONE,
    FAILED,
    WOULD,
    Inverter,
    Mode,
    Phases,
    Step,
    consent_step,
    inverter_step,
    link_loss_step,
    loads_step,
    loads_text,
    name_step,
    network_step,
    phases_step,
)
from bridge.control.phases import judge
from bridge.errors import ConfigError

WRITES, CHECK, DRY = Mode(True, False), Mode(False, False), Mode(False, True)
HEATER = Device("Hall heater", "192.168.8.31", "", "load", "", 1, 3000.0, "1", 20, "heater")
OVEN = Device("Oven", "", "AABBCC000002", "load", "oven.pass", 0, 4000.0, "2", 1, "oven", True)


def answers(text):
    return read(ini.parse(text), "house.ini")


def test_the_template_is_a_file_that_can_be_read():
    told = answers(TEMPLATE)
    assert told.consent is None and told.link_loss is None and told.inverters == (1,) and told.devices == ()
    uncommented = TEMPLATE.replace("# [", "[").replace("# ", "").split("[shelly Kitchen board]")[1].split("\n\n")[0]
    house = answers("[shelly Kitchen board]" + uncommented.replace("#", ""))
    assert house.devices[0] == Device("Kitchen board", mac="AABBCCDDEEFF", role="display")


def test_a_load_has_all_its_answers():
    told = answers("[shelly Hall heater]\nhost = 192.168.8.31\nrole = load\nchannel = 1\npower_w = 3000\nphase = 1\n"
                   "priority = 20\nkind = heater\n[gateway]\nserials = A1, B2\ninverters = 1 2\n[consent]\ncontrol = no\ngiven_by = Me\n")
    assert told.devices == (HEATER,) and told.serials == ("A1", "B2") and told.inverters == (1, 2) and told.consent is False


@pytest.mark.parametrize("text, why", [
    ("[shely A]\nmac = 1\n", "is not a section"), ("[shelly]\nmac = 1\n", "is not a section"),
    ("[shelly A]\nserials = 1\n", "belongs to [gateway]"), ("[gateway]\npower_w = 1\n", "belongs to [shelly NAME]"),
    ("[shelly A]\nmax_power = 1\n", "there are host, mac"), ("[loads]\nphase_limit_a = 1\n", "there are file, limit_w"),
    ("[shelly A]\nmack = 1\n", "did you mean mac"), ("[shelly A]\nmac = 12\n", "twelve digits"),
    ("[shelly A]\nrole = display\n", "say which device"), ("[shelly A]\nhost = a\nrole = load\n", "needs power_w"),
    ("[shelly A]\nhost = a:b\n", "not host or host:port"), ("[gateway]\nhost = a:0x\n", "not host or host:port"),
    ("[shelly A]\nhost = a\nhost = b\n", "there twice"), ("[consent]\ncontrol = perhaps\n", "not yes or no"),
    ("[shelly A]\nhost = a\nrole = display\n[shelly B]\nhost = b\nrole = display\n", "one Shelly shows"),
    ("[shelly A]\nmac = AABBCC000002\n[shelly B]\nmac = aa:bb:cc:00:00:02\n", "there twice"),
    ("[shelly A]\nhost = a\npower_w = -5\n", "not a power"), ("[gateway]\ninverters = 0\n", "1..246"),
    (f"[shelly {'x' * 65}]\nhost = a\n", "64 characters"),
])
def test_a_wrong_answer_is_one_line_with_its_place(text, why):
    with pytest.raises(ConfigError, match="house.ini") as error:
        answers(text)
    assert why in str(error.value) and "\n" not in str(error.value)


def test_inverters_are_told_with_serial_and_firmware():
    step = inverter_step(Answers({}), [Inverter(1, "EC 10.0", "A1", "V100")])
    assert (step.status, step.what) == (ALREADY, "unit 1: EC 10.0 A1, firmware V100")


@pytest.mark.parametrize("serials, seen, told", [
    ((), [Inverter(1, error="no answer")], "no answer"), ((), [Inverter(1, "EC", "", "V1")], "no serial number"),
    (("B2",), [Inverter(1, "EC", "A1", "V1")], "expected B2"),
    (("A1", "B2"), [Inverter(1, "EC", "A1", "V1")], "expected A1 B2"),
])
def test_inverters_that_are_silent_or_others_fail_with_what_to_do(serials, seen, told):
    step = inverter_step(Answers({}, serials=serials), seen)
    assert step.status == FAILED and told in step.what and step.advice


@pytest.mark.parametrize("grid, grid_w, status, told", [
    ((2841, 2843, 2842), 8540, ALREADY, "agree with their total"),
    ((2841, -2843, 2842), 8540, FAILED, "the total is 8540 W"),
    ((None, None, None), 8540, ALREADY, "single-phase"), ((2841, None, 2842), 8540, ALREADY, "single-phase"),
    ((20, -10, 5), 15, ALREADY, "too little flows"), ((2841, 2843, 2842), None, ALREADY, "agree"),
])
def test_phases_that_contradict_their_total_fail(grid, grid_w, status, told):
    step = phases_step(Phases(grid, grid_w), judge)
    assert step.status == status and told in step.what


def test_phases_that_could_not_be_read_are_not_called_a_single_phase():
    step = phases_step(Phases(error="no answer in 0.8 s"), judge)
    assert step.status == FAILED and "no answer" in step.what


def test_another_judge_of_phases_fits_in():
    class Finding:
        what = "phase B has the wrong sign"

    step = phases_step(Phases((1000, 1000, 1000), 3000.0, (1, 2, 3), 6.0), lambda *seen: [Finding()] if seen[1] == 3000 else [])
    assert step.status == FAILED and "phase B has the wrong sign" in step.what


def test_a_second_sigenergy_device_fails_with_the_cable_to_unplug():
    assert network_step(["two devices"]).status == FAILED and network_step([]).status == ALREADY


@pytest.mark.parametrize("consent, given_by, enabled, record, mode, status", [
    (True, "Me", True, {}, WRITES, DONE), (True, "Me", True, {"consent": True, "given_by": "Me"}, WRITES, ALREADY),
    (False, "Me", False, {}, WRITES, DONE), (False, "Me", True, {}, WRITES, FAILED), (None, "Me", False, {}, WRITES, FAILED),
    (True, "", False, {}, WRITES, FAILED), (True, "Me", False, {}, CHECK, FAILED), (True, "Me", False, {}, DRY, WOULD),
    (True, "Me", False, {"consent": True, "given_by": "Other"}, CHECK, FAILED),
    (True, "Me", False, {"consent": False, "given_by": "Me"}, CHECK, FAILED),
    (True, "Me", False, {"consent": True, "given_by": "Me"}, CHECK, ALREADY),
])
def test_consent_is_on_record_and_agrees_with_the_settings(consent, given_by, enabled, record, mode, status):
    step = consent_step(Answers({}, consent=consent, given_by=given_by), enabled, record, mode)
    assert step.status == status and (status != FAILED or step.advice)


@pytest.mark.parametrize("told, record, mode, status", [
    (True, {}, WRITES, DONE), (False, {}, WRITES, DONE), (None, {}, WRITES, FAILED), (True, {"link_loss": True}, CHECK, ALREADY),
    (True, {"link_loss": False}, CHECK, FAILED), (True, {}, DRY, WOULD),
])
def test_link_loss_is_asked_and_recorded(told, record, mode, status):
    step = link_loss_step(Answers({}, link_loss=told), record, mode)
    assert step.status == status and (status != FAILED or step.advice)


@pytest.mark.parametrize("now, mode, status", [
    ("Oven", WRITES, ALREADY), ("Oven", CHECK, ALREADY), ("x", CHECK, FAILED), ("", DRY, WOULD), ("x", WRITES, None),
])
def test_a_name_is_written_only_where_it_differs_and_may(now, mode, status):
    step = name_step(OVEN, "shelly_1", now, mode)
    assert (step.status if step else None) == status


def test_the_loads_file_is_a_skeleton_without_passwords():
    told = Answers({}, devices=(HEATER, OVEN, Device("Board", "a", role="display")), limit_w=10000)
    text = loads_text(told, {"Oven": ("192.168.8.40", "AABBCC000002")})
    options = {(option.section, option.name): option.value for option in ini.parse(text)}
    assert options["rules", "limit_w"] == "10000" and options["Hall heater", "power_w"] == "3000"
    assert options["Oven", "device"] == "192.168.8.40" and options["Oven", "mac"] == "AABBCC000002"
    assert options["Oven", "essential"] == "yes" and ("Oven", "password") not in options
    assert {section for section, _ in options} == {"rules", "Hall heater", "Oven"}


@pytest.mark.parametrize("sections, mode, status", [
    (None, WRITES, DONE), (None, CHECK, FAILED), (None, DRY, WOULD), (["Hall heater", "mine"], WRITES, ALREADY), (["mine"], WRITES, FAILED),
])
def test_a_loads_file_that_is_there_is_the_owners(sections, mode, status):
    step = loads_step(Answers({}, devices=(HEATER,)), "loads.ini", sections, mode)
    assert step.status == status and (status != FAILED or step.advice)


class Tags(HTMLParser):
    """Sees that every tag is closed, and what is fetched."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.fetched = [], [], []

    def handle_starttag(self, tag, attrs):
        self.fetched += [value for name, value in attrs if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def report_of(*steps, **more):
    fields = {"site": {"name": "<b>Family</b> & Co"}, "when": "2026-11-29 10:00", "mode": "", "steps": steps,
              "tables": [("Shellys", ("Name", "MAC"), [("<script>x</script>", "AABB")])],
              "settings": ["shelly.host = 192.168.8.30"], "version": "1.0"}
    return commission_report.Report(**{**fields, **more})


def test_the_page_is_whole_fetches_nothing_and_escapes_what_was_typed():
    page = commission_report.page(report_of(Step("a", "<i>A</i>", FAILED, "x < y", "do <this>"), Step("b", "B", DONE, "y")))
    tags = Tags()
    tags.feed(page)
    assert tags.open == [] and tags.fetched == [] and "url(" not in page and "@import" not in page
    text = "".join(tags.text)
    for typed in ("<b>Family</b> & Co", "<i>A</i>", "x < y", "To do: do <this>", "<script>x</script>", "1 of 2 steps failed"):
        assert typed in text, typed
    assert "<script" not in page and "@media print" in page


def test_text_and_data_say_the_same():
    report = report_of(Step("a", "A", FAILED, "x", "do this"), Step("b", "B", ALREADY, "y"))
    text, data = commission_report.text(report), commission_report.data(report)
    assert "FAILED        A: x\n              -> do this\nalready so    B: y" in text and text.endswith("1 of 2 steps failed\n")
    assert data["ok"] is False and [step["status"] for step in data["steps"]] == [FAILED, ALREADY]
    assert data["tables"][0]["rows"] == [{"Name": "<script>x</script>", "MAC": "AABB"}]
    good = report_of(Step("b", "B", ALREADY, "y"))
    assert commission_report.data(good)["ok"] is True and "all 1 steps are in order" in commission_report.text(good)
