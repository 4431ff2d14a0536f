"""The tables: complete, unambiguous, and their regions reachable by every name."""

from __future__ import annotations

import pytest

from bridge.errors import ConfigError
from bridge.peers.sigen_codes import (
    CODES,
    MODES,
    REGIONS,
    code_row,
    mode_row,
    openapi_url,
    region_named,
)

DOCUMENTED = {
    1000, 1101, 1102, 1103, 1104, 1105, 1106, 1107, 1108, 1109, 1110, 1111, 1112, 1116, 1200, 1201,
    1301, 1302, 1303, 1304, 1401, 1402, 1501, 1502, 1503, 1504, 1600, 1601, 1602, 1603, 1604, 11002, 11003,
}


def test_every_documented_code_has_exactly_one_row():
    assert sorted(row.code for row in CODES) == sorted(DOCUMENTED)


@pytest.mark.parametrize("row", CODES, ids=lambda row: str(row.code))
def test_each_row_says_what_it_means_and_what_to_do(row):
    assert row.meaning and row.advice and row.kind
    assert "\n" not in row.meaning + row.advice


def test_an_unknown_code_is_said_to_be_unknown():
    assert "not in the vendor's list" in code_row(4711).meaning


@pytest.mark.parametrize(("name", "found"), [
    ("eu", "eu"), ("EU ", "eu"), ("mea", "eu"), ("au", "aus"), ("anz", "aus"), ("aus", "aus"),
    ("apac", "apac"), ("us", "us"), ("la", "us"), ("na", "us"), ("cn", "cn"), ("jp", "jp"),
])
def test_regions_are_found_by_name_and_alias(name, found):
    assert region_named(name).name == found


def test_no_region_name_is_used_twice():
    names = [name for row in REGIONS for name in (row.name, *row.aliases)]
    assert len(names) == len(set(names))


def test_an_unknown_region_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"'mars' is not known; use one of: eu .* aus .*cloud\.base_url"):
        region_named("mars")


@pytest.mark.parametrize("row", REGIONS, ids=lambda row: row.name)
def test_both_host_families_of_a_region_are_reachable(row):
    assert openapi_url(row) == f"https://openapi-{row.name}.sigencloud.com"
    assert openapi_url(row, "api") == f"https://api-{row.name}.sigencloud.com"


def test_an_unknown_host_family_is_refused():
    with pytest.raises(ConfigError, match="openapi, api"):
        openapi_url(region_named("eu"), "www")


def test_mode_numbers_are_the_vendors():
    assert {row.number: row.word for row in MODES} == {
        0: "msc", 1: "ai", 2: "tou", 5: "ffg", 6: "vpp", 7: "remote", 8: "nbi", 9: "custom"}
    assert {row.number for row in MODES if row.settable} == {0, 5, 8}
    assert mode_row(42).label == "unknown mode 42" and not mode_row(42).settable
