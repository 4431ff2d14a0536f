"""Knocks on the doors of a small home network: TCP connects with time-outs, a few at a time.

Never leaves home networks (RFC 1918) and this machine, never asks more than 256 addresses, and sends
nothing: what is connected is closed at once.
"""

from __future__ import annotations

import errno
import ipaddress
import selectors
import socket
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Callable, FrozenSet, List, Optional, Sequence, TypeVar

from bridge.errors import BridgeError, ConfigError
from bridge.link.neighbours import is_home_address

MOST_HOSTS = 256
WORKERS = 32  # 254 absent addresses take 8 s, and a router of 2 x 580 MHz has other things to do
PORT_TIMEOUT_S = 1.0  # a second SYN goes out after 1 s; on a LAN the first one is enough
UNDER_WAY = (0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN)
ANY_PORT = 9

Job = TypeVar("Job")
Result = TypeVar("Result")
Progress = Callable[[int, int, int], None]  # asked, of how many, found so far


def hosts_of(subnets: Sequence[str]) -> List[str]:
    """Return the addresses of subnets such as 192.168.1.0/24; a single address counts as one.

    Raises ConfigError for what is not IPv4, not a home network, or more than 256 addresses in all.
    """
    hosts: List[str] = []
    for text in subnets:
        try:
            net = ipaddress.IPv4Network(text.strip(), strict=False)
        except ValueError as error:
            raise ConfigError(
                f"subnet {text!r}: not an IPv4 network such as 192.168.1.0/24 ({error})"
            ) from None
        if not (is_home_address(str(net.network_address)) and is_home_address(str(net.broadcast_address))):
            raise ConfigError(
                f"subnet {text}: not a home network (10.x, 172.16-31.x, 192.168.x); nothing else is swept"
            )
        if net.num_addresses > MOST_HOSTS:
            raise ConfigError(
                f"subnet {text}: has {net.num_addresses} addresses, at most {MOST_HOSTS} are swept;"
                " name the part that the devices are in, such as 192.168.1.0/24"
            )
        hosts += [str(host) for host in net.hosts()]
    hosts = list(dict.fromkeys(hosts))
    if len(hosts) > MOST_HOSTS:
        raise ConfigError(
            f"subnets: {len(hosts)} addresses, at most {MOST_HOSTS} are swept; take one at a time")
    return hosts


def near(net: ipaddress.IPv4Network, own: str) -> ipaddress.IPv4Network:
    """Return ``net``, or of a larger one the 256 addresses around our ``own``."""
    if net.num_addresses <= MOST_HOSTS:
        return net
    inside = own if own and ipaddress.IPv4Address(own) in net else str(net.network_address)
    return ipaddress.IPv4Network(f"{inside}/24", strict=False)


def own_address(towards: str) -> str:
    """Return this machine's address as the machine at ``towards`` sees it; empty when there is no way there.

    Sends nothing: connecting a datagram socket only looks up the route.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        if probe.connect_ex((towards, ANY_PORT)) != 0:
            return ""
        return str(probe.getsockname()[0])


def open_ports(host: str, ports: Sequence[int], timeout_s: float = PORT_TIMEOUT_S) -> FrozenSet[int]:
    """Return those of ``ports`` where something listens, all asked at once within ``timeout_s`` seconds."""
    if not is_home_address(host):
        raise ConfigError(f"{host}: not an address of a home network; nothing else is swept")
    found = set()
    with selectors.DefaultSelector() as waiting:
        try:
            for port in ports:
                knock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                knock.setblocking(False)
                waiting.register(knock, selectors.EVENT_WRITE, port)
                if knock.connect_ex((host, port)) not in UNDER_WAY:
                    _drop(waiting, knock)
            while waiting.get_map():
                answers = waiting.select(timeout_s)
                if not answers:
                    break
                for key, _ in answers:
                    knock = key.fileobj  # type: ignore[assignment]
                    if knock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                        found.add(key.data)
                    _drop(waiting, knock)
        finally:
            for key in list(waiting.get_map().values()):
                _drop(waiting, key.fileobj)  # type: ignore[arg-type]
    return frozenset(found)


def each(
    jobs: Sequence[Job], work: Callable[[Job], Optional[Result]], progress: Progress, workers: int = WORKERS,
) -> List[Result]:
    """Return what ``work`` made of each job, in the order of the jobs, without the Nones.

    ``work`` runs in a few threads at once and raises nothing it does not mean to end the sweep with;
    ``progress`` is called in the caller's thread.
    """
    results = {}
    progress(0, len(jobs), 0)
    ended = threading.Event()

    def unless_ended(job: Job) -> Optional[Result]:
        if ended.is_set():
            return None
        try:
            return work(job)
        except BridgeError:
            ended.set()
            raise

    pool = ThreadPoolExecutor(max(1, min(workers, len(jobs))), thread_name_prefix="sweep")
    try:
        pending = {pool.submit(unless_ended, job): index for index, job in enumerate(jobs)}
        for asked, done in enumerate(as_completed(pending), 1):
            result = done.result()
            if result is not None:
                results[pending[done]] = result
            progress(asked, len(jobs), len(results))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return [results[index] for index in sorted(results)]


def _drop(waiting: selectors.BaseSelector, knock: socket.socket) -> None:
    waiting.unregister(knock)
    knock.close()
