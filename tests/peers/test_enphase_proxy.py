"""The proxy against the simulated Envoy: bytes, streams, tokens, refusals, faults."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import threading
import time

import pytest

from bridge.clock import Clock, ManualClock
from bridge.errors import LinkError
from bridge.peers.enphase_errors import CertificateChanged
from bridge.peers.enphase_pin import FILE as PIN_FILE
from bridge.peers.enphase_pin import CertificatePin, fingerprint
from bridge.peers.enphase_proxy import own_location
from tests.enphase_home import Home, raw

pytestmark = pytest.mark.needs("openssl")
BIG = os.urandom(5 * 1024 * 1024)


@pytest.fixture
def home(tmp_path):
    with Home(tmp_path) as place:
        yield place


@pytest.fixture
def address(home):
    return home.proxy()


class Got:
    def __init__(self, answer):
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()

    @property
    def line(self):
        text = self.body.decode()
        assert text.endswith("\n") and text.count("\n") == 1, text
        return text


def ask(address, target="/production.json", method="GET", body=None, **headers):
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request(method, target, body, {name.replace("_", "-"): text for name, text in headers.items()})
        return Got(connection.getresponse())
    finally:
        connection.close()


def direct(home, target="/production.json"):
    """Return what the Envoy itself says, asked with a token by a client that is not ours."""
    import ssl

    context = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection(f"127.0.0.1:{home.device.port}", timeout=10, context=context)
    try:
        token = home.world.issue(time.time())
        connection.request("GET", target, headers={"Authorization": f"Bearer {token}"})
        return Got(connection.getresponse())
    finally:
        connection.close()


# --- what goes through -----------------------------------------------------------------------------------------

@pytest.mark.needs("curl")
def test_curl_gets_the_envoys_own_bytes(home, address):
    home.world.inverters_at = home.device.clock.now() - 100
    home.device.files["/production.json"] = body = direct(home).body
    done = subprocess.run(["curl", "-s", f"http://{address}/production.json"], capture_output=True, timeout=20)
    assert done.returncode == 0 and done.stdout == body


def test_post_to_a_page_that_is_only_read_is_the_envoys_get(home, address):
    home.device.files["/production.json"] = b'{"same":1}'
    assert ask(address, method="POST", body=b"x=1").body == ask(address).body == b'{"same":1}'
    seen = [entry for entry in home.device.log if entry.target == "/production.json"]
    assert [entry.method for entry in seen] == ["GET", "GET"] and seen[0].body == b""
    assert "content-type" not in seen[0].headers and "content-length" not in seen[0].headers


def test_five_megabytes_come_through_intact(home, address):
    home.device.files["/ivp/dump.bin"] = BIG
    got = ask(address, "/ivp/dump.bin")
    assert got.body == BIG and got.headers["Content-Type"] == "application/octet-stream"
    assert got.headers["Content-Length"] == str(len(BIG))


def test_write_requests_keep_method_body_and_media(home, address):
    got = ask(address, "/admin/lib/tariff", "PUT", b'{"tariff":{"a":1}}', Content_Type="application/json")
    assert got.status == 200 and json.loads(got.body) == {"tariff": {"a": 1}}
    seen = home.device.log[-1]
    assert (seen.method, seen.body, seen.headers["content-type"]) == ("PUT", b'{"tariff":{"a":1}}', "application/json")
    assert ask(address, "/ivp/ensemble/relay", "POST", b'{"mains_admin_state":"closed"}').status == 200
    assert home.world.written["/ivp/ensemble/relay"] == {"mains_admin_state": "closed"}


def test_head_has_the_head_and_no_body(home, address):
    home.device.files["/x"] = b"12345"
    got = ask(address, "/x", "HEAD")
    assert (got.status, got.body, got.headers["Content-Length"]) == (200, b"", "5")


@pytest.mark.parametrize("target", ["/production.json?details=1", "/x?a=%2Fb&a=c+d&e", "/inventory.json?deleted=1"])
def test_the_query_is_not_touched(home, address, target):
    ask(address, target)
    assert home.device.log[-1].target == target


def test_only_safe_headers_reach_the_envoy_and_only_ours_is_the_token(home, address):
    ask(address, Authorization="Bearer mine", Cookie="a=b", X_Forwarded_For="1.2.3.4", Referer="http://x/",
        Accept="application/json", If_None_Match='"1"', User_Agent="meter/1")
    seen = home.device.log[-1].headers
    assert seen["authorization"].startswith("Bearer eyJ") and seen["host"] == f"127.0.0.1:{home.device.port}"
    assert seen["accept"] == "application/json" and seen["if-none-match"] == '"1"' and seen["user-agent"] == "meter/1"
    assert not {"cookie", "x-forwarded-for", "referer", "origin", "connection"} & set(seen)


def test_the_envoys_session_does_not_come_back(home, address):
    got = ask(address, "/auth/check_jwt")
    assert got.status == 200 and b"Valid token" in got.body
    assert got.headers["Set-Cookie"] is None and got.headers["Strict-Transport-Security"] is None


def test_info_needs_no_token_and_what_is_missing_is_the_envoys_404(home, address):
    assert b"<sn>122300000001</sn>" in ask(address, "/info").body
    assert "authorization" not in home.device.log[-1].headers
    assert ask(address, "/no/such/page").status == 404


def test_a_slash_behind_the_address_makes_no_double_slash(home, address):
    ask(address, "/home")
    assert home.device.log[-1].target == "/home"  # Home gives the address with a slash


@pytest.mark.timing
def test_a_hundred_events_each_arrive_within_100_ms(home, address):
    home.device.stream_s, home.device.stream_events = 0.02, 100
    home.device.event = lambda: b"data: %.6f\n\n" % time.monotonic()
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", "/stream/meter")
    answer = connection.getresponse()
    late = []
    for _ in range(100):
        line = answer.readline()
        late.append(time.monotonic() - float(line.partition(b": ")[2]))
        answer.readline()
    assert answer.read() == b"" and answer.headers["Content-Type"] == "text/event-stream"
    assert max(late) < 0.1, sorted(late)[-5:]
    connection.close()


def test_a_stream_holds_nobody_else_up_and_ends_with_its_client(home, address):
    home.device.stream_s = 0.05
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", "/stream/meter")
    answer = connection.getresponse()
    answer.readline()
    assert ask(address).status == 200
    connection.close()
    answer.close()
    before = home.device.connections
    assert ask(address).status == 200 and home.device.connections <= before + 1


def test_streams_leave_half_of_the_envoys_places_to_the_others(home, address):
    home.device.stream_s = 0.02
    open_ones = []
    for _ in range(4):
        connection = http.client.HTTPConnection(address, timeout=10)
        connection.request("GET", "/stream/meter")
        open_ones.append((connection, connection.getresponse()))
    fifth = ask(address, "/stream/meter")
    assert fifth.status == 503 and "4 streams" in fifth.line
    assert ask(address).status == 200
    for connection, answer in open_ones:
        connection.close()
        answer.close()
    end = time.monotonic() + 5
    while time.monotonic() < end:
        connection = http.client.HTTPConnection(address, timeout=10)
        connection.request("GET", "/stream/meter")
        status = connection.getresponse().status
        connection.close()
        if status == 200:
            break
        time.sleep(0.05)
    assert status == 200, "a client that left gives its place back"


def test_many_clients_share_a_few_connections(home, address):
    results = []

    def one():
        results.extend(ask(address).status for _ in range(5))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [200] * 40
    assert home.device.connections < 20 and home.cloud.count("/login/login.json") == 1
    one_by_one = home.device.connections
    for _ in range(10):
        ask(address)
    assert home.device.connections <= one_by_one + 1


def test_an_envoy_never_has_more_than_eight_connections_at_once(home, address):
    ask(address)
    home.device.fault("slow", s=0.1)
    most, results = [], []
    home.device.answer = lambda *request, real=home.device.answer: (most.append(len(home.device._server._open)), real(*request))[1]
    threads = [threading.Thread(target=lambda: results.append(ask(address).status)) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [200] * 24 and 2 <= max(most) <= 8


def test_refused_tokens_of_many_at_once_do_not_block_each_other(tmp_path):
    with Home(tmp_path, ManualClock()) as home:
        address = home.proxy()
        ask(address)
        home.device.fault("refuse")
        home.clock.advance(61)
        results = []
        threads = [threading.Thread(target=lambda: results.append(ask(address).status)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [502] * 16
        home.device.clear()
        assert ask(address).status == 200


def test_a_client_may_keep_its_connection_and_send_two_at_once(address):
    request = b"GET /info HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /info HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert raw(address, request + last).count(b"HTTP/1.1 200 OK") == 2


def test_an_old_client_gets_no_chunks(address):
    content = raw(address, b"GET /production.json HTTP/1.0\r\nHost: localhost\r\n\r\n")
    head, _, body = content.partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower() and json.loads(body)["production"]


def test_an_envoy_of_old_firmware_is_served_without_token_and_tls(tmp_path):
    with Home(tmp_path, firmware="D5.0.62", metered=False, ct=False) as home:
        got = ask(home.proxy())
        assert json.loads(got.body)["production"][0]["wNow"] == 4200
        assert "authorization" not in home.device.log[-1].headers and home.cloud.count() == 0


# --- tokens ----------------------------------------------------------------------------------------------------

def test_a_token_that_ends_in_the_middle_is_invisible_to_the_clients(tmp_path):
    with Home(tmp_path, ManualClock()) as home:
        home.world.life_s = 3600.0
        address = home.proxy()
        for _ in range(40):
            assert ask(address).status == 200
            home.clock.advance(300)
        assert home.cloud.count("/login/login.json") >= 3
        home.world.revoke()  # as a firmware update does
        home.clock.advance(61)
        results = []
        threads = [threading.Thread(target=lambda: results.append(ask(address).status)) for _ in range(6)]
        logins = home.cloud.count("/login/login.json")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [200] * 6 and home.cloud.count("/login/login.json") == logins + 1


def test_a_write_is_sent_once_more_after_a_refused_token_and_acted_on_once(tmp_path):
    with Home(tmp_path, ManualClock()) as home:
        address = home.proxy()
        ask(address)
        home.world.revoke()
        home.clock.advance(61)
        assert ask(address, "/admin/lib/tariff", "PUT", b'{"t":1}').status == 200
        seen = [entry.status for entry in home.device.log if entry.target == "/admin/lib/tariff"]
        assert seen == [401, 200]


def test_a_page_for_installers_is_the_envoys_401_and_costs_no_login(home, address):
    for _ in range(3):
        got = ask(address, "/installer/agf/index.json")
        assert got.status == 401 and b"Authentication Required" in got.body
    assert home.cloud.count("/login/login.json") == 1


def test_an_envoy_that_refuses_every_token_is_one_line_and_no_login_loop(tmp_path):
    with Home(tmp_path, ManualClock()) as home:
        address = home.proxy()
        assert ask(address).status == 200
        home.device.fault("refuse")
        home.clock.advance(61)
        for _ in range(10):
            got = ask(address)
            assert got.status == 502 and "token refused by the Envoy (401)" in got.line
        assert home.cloud.count("/login/login.json") == 2
        home.device.clear()
        assert ask(address).status == 200


def test_a_pasted_token_never_contacts_the_cloud_even_when_refused(home):
    keeper = home.keeper(pasted=home.world.issue(time.time()))
    address = home.proxy(home.envoy(keeper))
    assert ask(address).status == 200
    home.world.revoke()
    got = ask(address)
    assert got.status == 502 and "paste a new one" in got.line
    assert home.cloud.count() == 0


def test_enlighten_down_at_start_is_served_as_soon_as_it_can(tmp_path):
    with Home(tmp_path, ManualClock()) as home:
        home.cloud.stop()
        keeper = home.keeper()
        address = home.proxy(home.envoy(keeper))
        assert b"<sn>" in ask(address, "/info").body  # what needs no token is there at once
        got = ask(address)
        assert got.status == 503 and int(got.headers["Retry-After"]) >= 60
        assert "login" in got.line
        assert ask(address, "/_/health").status == 503
        home.cloud.start()
        home.clock.advance(601)
        keeper.tend()
        assert ask(address).status == 200 and ask(address, "/_/health").status == 200


def test_a_token_from_the_last_run_serves_while_enlighten_is_down(home):
    home.keeper().token()
    home.cloud.stop()
    assert ask(home.proxy(home.envoy(home.keeper()))).status == 200


def test_with_the_clock_in_1970_it_says_what_it_waits_for(tmp_path):
    with Home(tmp_path, ManualClock(now=1000.0)) as home:
        address = home.proxy()
        got = ask(address)
        assert got.status == 503 and "clock" in got.line and home.cloud.count() == 0
        home.clock.jump_wall(1_795_224_659.0)
        assert ask(address).status == 200


# --- faults of the Envoy ---------------------------------------------------------------------------------------

def test_a_slow_envoy_is_waited_for(home, address):
    ask(address)
    home.device.fault("slow", s=0.4)
    assert ask(address).status == 200


def test_an_envoy_that_does_not_answer_is_504_in_one_line(home):
    address = home.proxy(home.envoy(answer_s=0.3))
    home.device.fault("hang")
    got = ask(address, "/info")
    assert got.status == 504 and "no answer in time" in got.line


def test_an_envoy_that_is_gone_is_502_in_one_line_and_comes_back(home, address):
    assert ask(address).status == 200
    home.device.fault("gone")
    got = ask(address)
    assert got.status == 502 and "connection refused" in got.line
    assert json.loads(ask(address, "/_/health").body)["status"] == "error"
    home.device.clear()
    assert ask(address).status == 200
    assert json.loads(ask(address, "/_/health").body)["status"] == "ok"


def test_a_connection_that_died_in_the_pool_is_not_the_clients_business(home, address):
    for _ in range(3):
        assert ask(address).status == 200
        home.device.cut_connections()


def test_an_answer_that_breaks_off_is_not_passed_off_as_whole(home, address):
    home.device.files["/x"] = BIG
    ask(address)
    home.device.fault("cut")
    with pytest.raises(http.client.IncompleteRead):
        ask(address, "/x")
    with pytest.raises((http.client.IncompleteRead, ValueError)):
        json.loads(ask(address).body)
    home.device.clear()
    assert ask(address).status == 200


def test_the_envoys_503_is_passed_on(home, address):
    ask(address)
    home.device.fault("busy")
    assert ask(address).status == 503


def test_another_certificate_gets_no_token_until_it_is_accepted(home, caplog):
    envoy = home.envoy()
    address = home.proxy(envoy)
    assert ask(address).status == 200
    pinned = home.state.load(PIN_FILE)
    home.device.fault("certificate")
    seen = len(home.device.log)
    for _ in range(3):
        got = ask(address)
        assert got.status == 502 and "certificate has changed" in got.line and "--accept-certificate" in got.line
    assert len(home.device.log) == seen  # not one request went out, so no token did
    assert home.state.load(PIN_FILE) == pinned
    assert sum("state=certificate-changed" in record.message for record in caplog.records) == 1
    judge = CertificatePin(home.state, f"127.0.0.1:{home.device.port}")
    with pytest.raises(CertificateChanged):
        home.envoy().info()
    judge.seen = envoy.http._door._pin.seen
    judge.accept()
    assert ask(address).status == 200  # the running proxy takes note without a restart


def test_a_pin_that_was_set_is_the_only_one_that_counts(home):
    with pytest.raises(CertificateChanged):
        home.envoy(told="ab" * 32).info()
    assert home.device.log == type(home.device.log)(maxlen=10_000)


def test_the_first_certificate_is_pinned_and_found_again(home):
    home.envoy().info()
    assert len(fingerprint(next(iter(home.state.load(PIN_FILE).values())))) == 64
    home.envoy().info()
    openssl = subprocess.run(
        ["openssl", "x509", "-in", f"{home.device._directory}/envoy-1.pem", "-noout", "-fingerprint", "-sha256"],
        capture_output=True, text=True, check=True).stdout
    home.envoy(told=openssl.partition("=")[2]).info()  # as openssl prints it


def test_plain_http_where_tls_is_expected_says_so(tmp_path):
    with Home(tmp_path, firmware="D5.0.62", metered=False, ct=False) as home:
        from bridge.link.envoy_tls import EnvoyDoor, address_of

        door = EnvoyDoor(address_of(f"https://127.0.0.1:{home.device.port}"), CertificatePin(home.state, "x"), 2.0)
        with pytest.raises(LinkError, match="http:// in enphase.local_url"):
            door.open()


# --- who may ask -----------------------------------------------------------------------------------------------

def test_a_foreign_host_name_is_refused(address):
    content = raw(address, b"GET /info HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
    assert content.startswith(b"HTTP/1.1 403")


def test_a_page_of_a_browser_may_not_write(home, address):
    assert ask(address, "/admin/lib/tariff", "PUT", b"{}", Origin="http://evil.example").status == 403
    assert not home.world.written


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_other_methods_are_not_passed_on(home, address, method):
    content = raw(address, f"{method} /production.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert content.startswith(b"HTTP/1.1 405") and not home.device.log


@pytest.mark.parametrize(("path", "status"), [
    ("/production.json", 200), ("/api/v1/production", 200), ("/ivp/meters", 403), ("/production.jsonx", 403),
    ("/api/../ivp/meters", 403), ("/api/%2e%2e/ivp/meters", 403), ("/_/health", 200),
    ("/api/%2f../ivp/meters", 403), ("/api/x%2F..%2F..%2Fivp/meters", 403), ("/api/%5c..%5civp", 403),
    ("/api/%252e%252e/ivp/meters", 403)])
def test_the_list_of_paths(home, path, status):
    address = home.proxy(allow=("/production.json", "/api/"))
    ask(address)  # the token is there: health is good
    assert ask(address, path).status == status


def test_on_another_address_than_loopback_writing_wants_the_token(home):
    from bridge.link.proxy_server import ProxyServer
    from bridge.peers.enphase_proxy import EnvoyProxy, Rules

    server = ProxyServer("127.0.0.1:0", EnvoyProxy(home.envoy(), Rules("0.0.0.0:8080", token="tok"), Clock()).handle)
    server.start()
    try:
        assert ask(server.address, Host="router.lan").status == 200
        assert ask(server.address, "/admin/lib/tariff", "PUT", b"{}").status == 401
        assert ask(server.address, "/admin/lib/tariff", "PUT", b"{}", Authorization="Bearer no").status == 401
        assert ask(server.address, "/admin/lib/tariff", "PUT", b"{}", Authorization="Bearer tok").status == 200
        assert "tok" not in home.device.log[-1].headers["authorization"].split()
    finally:
        server.close()


@pytest.mark.parametrize(("request_bytes", "status"), [
    (b"nonsense\r\n\r\n", 400),
    (b"GET /info HTTP/1.1\r\nHost: localhost\r\nX: a\nAuthorization: b\r\n\r\n", 400),
    (b"GET /info HTTP/1.1\r\nHost: localhost\r\n folded\r\n\r\n", 400),
    (b"PUT /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", 400),
    (b"PUT /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
    (b"PUT /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\n", 413),
    (b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 400),
    (b"PUT /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: \xb2\r\n\r\n", 400),
    (b"GET /" + b"a" * 40_000, 431),
    (b"\x16\x03\x01\x02\x00\x01\x00", 400),  # a client that tries https first
])
def test_broken_requests_are_answered_and_go_nowhere(home, address, request_bytes, status):
    assert raw(address, request_bytes).startswith(b"HTTP/1.1 %d " % status)
    assert not home.device.log


def test_a_client_that_waits_for_100_continue_gets_it(home, address):
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 5) as tcp:
        tcp.sendall(b"PUT /admin/lib/tariff HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
                    b"Expect: 100-continue\r\nConnection: close\r\n\r\n")
        assert tcp.recv(100).startswith(b"HTTP/1.1 100")
        tcp.sendall(b"{}")
        assert b"HTTP/1.1 200" in tcp.recv(1000)


def test_the_access_log_is_a_line_a_request_without_query_or_token(home, caplog):
    caplog.set_level("INFO", "enphase.access")
    address = home.proxy(log_access=True)
    ask(address, "/production.json?secret=1")
    deadline = time.monotonic() + 5
    lines = []
    while not lines and time.monotonic() < deadline:
        lines = [record.message for record in caplog.records if record.name == "enphase.access"]
        time.sleep(0.01)
    assert len(lines) == 1 and lines[0].startswith("client=127.0.0.1 method=GET path=/production.json status=200 bytes=")
    assert "secret" not in lines[0]


def test_health_has_the_originals_keys(home, address):
    ask(address)
    report = json.loads(ask(address, "/_/health").body)
    assert {"status", "message", "version"} <= set(report) and report["status"] == "ok" and report["token"] is True
    assert ask(address, "/healthz").status == 200
    assert not [entry for entry in home.device.log if "health" in entry.target]


@pytest.mark.parametrize(("said", "given"), [
    (b"https://192.0.2.10/home", b"/home"), (b"https://192.0.2.10:443/home?a=1", b"/home?a=1"),
    (b"https://192.0.2.10", b"/"), (b"/home", b"/home"), (b"https://elsewhere.example/x", b"https://elsewhere.example/x"),
    (b"/login?next=https://192.0.2.10/x", b"/login?next=https://192.0.2.10/x")])
def test_a_redirect_to_the_envoy_stays_with_the_proxy(said, given):
    assert own_location(said, "192.0.2.10") == given
