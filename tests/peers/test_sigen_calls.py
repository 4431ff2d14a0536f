"""What --dry-run shows is what goes over the wire."""

from __future__ import annotations

import json

import pytest

from bridge.errors import ConfigError
from bridge.peers.sigen_calls import board_call, mode_calls, request_of, station_id
from tests.peers.cloud_bench import STATION, cloud_bench


@pytest.mark.parametrize("closed, index", [(None, 0), ("setMode", 1)])
def test_a_mode_change_is_sent_as_it_is_shown(tmp_path, closed, index):
    with cloud_bench(tmp_path) as bench:
        if closed:
            bench.sim.switch_off(closed)
        bench.client().set_mode(5)
        shown = request_of(mode_calls(STATION, 5)[index], bench.sim.base_url)
        sent = bench.sim.log[-1]
        assert (sent.method, bench.sim.base_url + sent.path) == (shown.method, shown.url)
        assert sent.body.decode() == shown.text and json.loads(sent.body) == shown.body


@pytest.mark.parametrize("verb", ["onboard", "offboard"])
def test_a_board_request_is_sent_as_it_is_shown(tmp_path, verb):
    ids = [STATION, "ABCDE1700000002", STATION]
    with cloud_bench(tmp_path) as bench:
        client = bench.client()
        client.onboard(ids) if verb == "onboard" else client.offboard(ids)
        shown = request_of(board_call(verb, ids), bench.sim.base_url)
        sent = next(entry for entry in bench.sim.log if entry.endpoint == verb)
        assert (sent.method, sent.path, sent.body.decode()) == ("POST", f"/openapi/board/{verb}", shown.text)
        assert shown.body == [STATION, "ABCDE1700000002"]


@pytest.mark.parametrize("text", ["", "  ", "two words", "zürich", "tab\tid"])
def test_an_id_that_cannot_be_one_is_refused_with_where_to_find_it(text):
    with pytest.raises(ConfigError, match="cloud systems"):
        station_id(text)


def test_as_many_stations_as_the_vendor_allows():
    assert len(board_call("onboard", [f"ID{number}" for number in range(199)]).body) == 199
    for ids in ([], [f"ID{number}" for number in range(200)]):
        with pytest.raises(ConfigError, match="1 to 199"):
            board_call("onboard", ids)
