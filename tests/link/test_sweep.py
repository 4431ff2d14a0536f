"""The sweep stays at home, stays small, and finds what listens."""

from __future__ import annotations

import ipaddress
import socket
import threading

import pytest

from bridge.errors import ConfigError
from bridge.link.sweep import each, hosts_of, near, open_ports, own_address


def listening(host):
    server = socket.socket()
    server.bind((host, 0))
    server.listen(4)
    return server


def test_a_subnet_is_its_hosts_once():
    assert hosts_of(["192.168.1.0/30", "192.168.1.2", "192.168.1.9/32"]) == ["192.168.1.1", "192.168.1.2", "192.168.1.9"]
    assert len(hosts_of(["10.0.0.0/24"])) == 254


@pytest.mark.parametrize(("subnets", "why"), [
    (["8.8.8.0/24"], "not a home network"), (["192.0.2.0/24"], "not a home network"),
    (["0.0.0.0/0"], "not a home network"), (["172.16.0.0/11"], "not a home network"),
    (["192.168.0.0/23"], "512 addresses"), (["10.0.0.0/8"], "16777216 addresses"),
    (["192.168.1.0/24", "192.168.2.0/24"], "508 addresses"), (["fd00::/120"], "not an IPv4 network"),
    (["kitchen"], "not an IPv4 network"),
])
def test_what_is_no_small_home_network_is_refused(subnets, why):
    with pytest.raises(ConfigError, match=why):
        hosts_of(subnets)


def test_open_ports_refuses_the_internet():
    with pytest.raises(ConfigError, match="not an address of a home network"):
        open_ports("8.8.8.8", [80])


def test_open_ports_are_told_from_closed_ones():
    with listening("127.0.0.5") as first, listening("127.0.0.5") as second, listening("127.0.0.6") as other:
        ports = [server.getsockname()[1] for server in (first, second, other)]
        assert open_ports("127.0.0.5", ports) == set(ports[:2])
        assert open_ports("127.0.0.7", ports) == set()


def test_of_a_large_network_the_part_around_us_is_taken():
    assert str(near(ipaddress.IPv4Network("10.0.0.0/16"), "10.0.7.9")) == "10.0.7.0/24"
    assert str(near(ipaddress.IPv4Network("10.0.0.0/16"), "")) == "10.0.0.0/24"
    assert str(near(ipaddress.IPv4Network("10.0.0.0/25"), "10.0.0.9")) == "10.0.0.0/25"


def test_our_own_address_is_the_one_that_the_other_side_sees():
    assert own_address("127.0.0.9") == "127.0.0.1"


def test_results_keep_the_order_of_the_jobs_and_progress_counts_them_all():
    told, busy, most = [], [], []

    def work(job):
        busy.append(job)
        most.append(len(busy))
        busy.remove(job)
        return job * 2 if job % 3 else None

    results = each(range(50), work, lambda *numbers: told.append(numbers), workers=4)
    assert results == [job * 2 for job in range(50) if job % 3]
    assert told[0] == (0, 50, 0)
    assert told[-1] == (50, 50, len(results))
    assert max(most) <= 4


def test_progress_is_told_in_the_thread_that_asked():
    threads = set()
    each([1, 2, 3], lambda job: job, lambda *_: threads.add(threading.current_thread()))
    assert threads == {threading.current_thread()}


def test_an_error_ends_the_sweep_without_the_rest():
    started = []

    def work(job):
        started.append(job)
        raise ConfigError("stop")

    with pytest.raises(ConfigError, match="stop"):
        each(range(1000), work, lambda *_: None, workers=2)
    assert len(started) < 1000


def test_nothing_to_do_is_no_error():
    assert each([], lambda job: job, lambda *_: None) == []
