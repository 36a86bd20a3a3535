"""Who is let in: this very machine under its own name, and from a network by TLS and a PIN. Other sites never are."""

from __future__ import annotations

import datetime
import http.client
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent.config import Config
from edge_agent.desk.access import Asked, Door, Rules, decide, is_loopback, read_rules
from edge_agent.desk.refusals import Forbidden, NotSignedIn, TooOften
from edge_agent.home import Home
from runtime.contracts.errors import StationFault
from tests.edge_agent.desk.rigs import OURS, Client, deskless, free_port, over_socket, running, set_desk
from tests.edge_agent.rigs import wait_until

PIN = "31337-0"


def certify(folder: Path, *addresses: str) -> tuple[Path, Path]:
    """Make a certificate for ``station.test`` and these addresses, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "station.test")])
    names = [x509.DNSName("station.test"), *(x509.IPAddress(ipaddress.ip_address(one)) for one in addresses)]
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "desk.pem", folder / "desk.key"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


def own_address() -> str:
    """An address of this machine that is not loopback, or a skip."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            address = str(probe.getsockname()[0])
        except OSError:
            address = "127.0.0.1"
    if is_loopback(address):
        pytest.skip("this machine has no address but loopback")
    return address


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8377", "127.0.0.1.evil.example", "", "localhost.", "10.0.0.1"]
)
def test_a_name_that_is_not_ours_is_refused(desk: Client, host: str) -> None:
    for path in ("/v1/state", "/", "/static/x.js", "/v1/records", "/healthz"):
        assert desk.ask("GET", path, headers={"Host": host}).status == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:1", "[::1]:8377"])
def test_this_machines_names_are_ours(desk: Client, host: str) -> None:
    assert desk.ask("GET", "/v1/state", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://{own}", "http://localhost"]
)
def test_another_site_can_change_nothing(desk: Client, origin: str) -> None:
    own = f"127.0.0.1:{desk.port}"
    headers = {**OURS, "Origin": origin.format(own=own), "Content-Type": "application/json"}
    for method, path in (
        ("POST", "/v1/sessions"), ("DELETE", "/v1/sessions/x"), ("PUT", "/v1/sessions/x/photos/logo"),
        ("POST", "/scans"), ("POST", "/v1/inbox/read"), ("POST", "/v1/update/defer"), ("POST", "/login"),
    ):  # fmt: skip
        assert desk.ask(method, path, b"{}", headers).status == 403


def test_our_own_page_may_change_things_and_a_form_of_nobody_may_not(desk: Client) -> None:
    own = {"Origin": f"http://127.0.0.1:{desk.port}"}
    body = b'{"item_id": "bag"}'
    assert desk.ask("POST", "/v1/sessions", body, {**own, **OURS}).status == 201
    assert desk.ask("POST", "/v1/sessions", body, own).status == 403
    assert desk.ask("POST", "/v1/sessions", body, {}).status == 403
    assert desk.ask("POST", "/v1/sessions", body, {"X-Touchstone": "other"}).status == 403
    assert desk.ask("POST", "/scans", b"", own).status == 403, "a page needs the header here too"
    assert desk.ask("POST", "/scans", b"", {}).status == 422, "software on this machine does not"


def test_every_answer_carries_the_headers_that_keep_other_sites_out(desk: Client) -> None:
    for path in ("/v1/state", "/nowhere", "/static/nowhere", "/v1/records/x"):
        headers = desk.ask("GET", path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "'unsafe" not in headers["content-security-policy"]
        assert headers["date"].endswith("GMT")
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/%2e%2e/", "/v1/photos/..%2f..%2fx"]
)
def test_no_path_leads_out(desk: Client, path: str) -> None:
    answer = desk.ask("GET", path)
    assert answer.status == 404
    assert b"def " not in answer.body


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        (("desk_certificate",), "desk_certificate"),
        (("desk_key",), "desk_key"),
        (("desk_pin",), "desk_pin"),
        (("desk_certificate", "desk_key", "desk_pin"), "desk_certificate"),
    ],
)
def test_a_network_without_tls_and_pin_gets_no_desk_and_the_station_goes_on(
    home_with_model: Home, tmp_path: Path, photo_of: Callable[..., bytes], missing: tuple[str, ...], says: str
) -> None:
    certificate, key = certify(tmp_path)
    more = {"desk_certificate": str(certificate), "desk_key": str(key), "desk_pin": PIN}
    port = free_port()
    set_desk(home_with_model, port, desk_host="0.0.0.0", **{name: more[name] for name in more if name not in missing})
    with deskless(home_with_model) as daemon:
        wait_until(lambda: daemon.events("needs_a_person"), "it says so")
        assert says in daemon.events("needs_a_person")[0]["why"]
        with pytest.raises(ConnectionRefusedError):
            Client(port).ask("GET", "/v1/state")
        assert over_socket(home_with_model.desk_socket, "/healthz") == 200
        assert PIN not in daemon.log.read_text()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"desk_certificate": "/nowhere.pem"}, "desk_certificate /nowhere.pem: cannot be read"),
        ({"desk_certificate": "{key}"}, "expected a PEM certificate"),
        ({"desk_key": "{certificate}"}, "cannot be used"),
        ({"desk_pin": "12345"}, "at least 6"),
        ({"desk_port": 99999}, "desk_port"),
    ],
)
def test_settings_that_cannot_be_are_told(tmp_path: Path, more: dict[str, object], says: str) -> None:
    from edge_agent.desk.serving import _config

    certificate, key = certify(tmp_path)
    good: dict[str, object] = {"desk_certificate": str(certificate), "desk_key": str(key), "desk_pin": PIN}
    filled = {
        name: value.format(certificate=certificate, key=key) if isinstance(value, str) else value
        for name, value in {**good, **more}.items()
    }
    with pytest.raises(StationFault, match=says):
        _config(lambda *_: None, read_rules(Config(desk_host="0.0.0.0", **filled)))  # type: ignore[arg-type, return-value]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A desk that is open to the network, asked from there."""
    from tests.conftest import build_tiny_bundle
    from tests.edge_agent.conftest import give_model
    from tests.edge_agent.rigs import make_home

    address = own_address()
    folder = tmp_path_factory.mktemp("network")
    certificate, key = certify(folder, address)
    home = give_model(make_home(folder / "station"), build_tiny_bundle)
    more = {"desk_host": "0.0.0.0", "desk_certificate": str(certificate), "desk_key": str(key), "desk_pin": PIN}
    with running(home, **more) as (client, _):
        tls = ssl.create_default_context(cafile=str(certificate))
        yield Client(client.port, host=address, tls=tls)


def test_from_a_network_the_pin_comes_first(network: Client) -> None:
    assert network.get("/v1/state")["logged_in"] is False
    assert network.get("/v1/state")["model"] is None
    for method, path in (
        ("GET", "/v1/records"), ("GET", "/v1/sessions"), ("POST", "/v1/sessions"), ("POST", "/scans"),
        ("GET", "/v1/inbox"), ("GET", "/v1/camera.jpg"), ("GET", "/v1/photos/" + "0" * 64),
    ):  # fmt: skip
        refused = network.ask(method, path, b"{}" if method == "POST" else None)
        assert (refused.status, refused.json["type"]) == (401, "/problems/not-signed-in")
    assert network.send("POST", "/login", {"pin": "000000"}).status == 403
    entered = network.send("POST", "/login", {"pin": PIN})
    assert entered.status == 204
    cookie = entered.headers["set-cookie"]
    assert all(word in cookie for word in ("touchstone_desk=", "HttpOnly", "SameSite=strict", "Secure"))
    known = {**OURS, "Cookie": cookie.partition(";")[0]}
    assert network.ask("GET", "/v1/state", headers=known).json["logged_in"] is True
    assert network.ask("POST", "/v1/sessions", b'{"item_id": "bag"}', known).status == 201
    assert network.ask("GET", "/v1/records", headers={"Cookie": known["Cookie"][:-1] + "x"}).status == 401
    assert network.ask("GET", "/v1/records", headers={"Cookie": known["Cookie"], "Host": "evil.example"}).status == 403
    assert network.ask("GET", "/v1/state", headers={**known, "Host": "station.test"}).status == 200
    assert network.ask("GET", "/metrics", headers=known).status == 403


def test_plain_http_is_no_way_in(network: Client) -> None:
    with pytest.raises(OSError):
        Client(network.port, host=network.host).ask("GET", "/v1/state")
    assert network.get("/v1/state")["logged_in"] is False


def test_after_five_wrong_pins_even_the_right_one_must_wait_and_who_is_in_stays_in(network: Client) -> None:
    cookie = network.send("POST", "/login", {"pin": PIN}).headers["set-cookie"].partition(";")[0]
    statuses = [network.send("POST", "/login", {"pin": f"00000{number}"}).status for number in range(6)]
    assert statuses[-1] == 429
    refused = network.send("POST", "/login", {"pin": PIN})
    assert (refused.status, "wait a minute" in refused.json["detail"]) == (429, True)
    assert network.ask("GET", "/v1/records", headers={"Cookie": cookie}).status == 200


def test_the_door_opens_again_after_a_minute_and_forgets_after_twelve_hours() -> None:
    clock = [1000.0]
    door = Door(PIN, lambda: clock[0])
    for _ in range(5):
        with pytest.raises(Forbidden):
            door.enter("wrong")
    with pytest.raises(TooOften):
        door.enter(PIN)
    clock[0] += 60
    cookie = f"touchstone_desk={door.enter(PIN)}"
    assert door.knows(cookie)
    assert not Door(PIN, lambda: clock[0]).knows(cookie), "another process, another secret"
    until, _, signature = cookie.removeprefix("touchstone_desk=").partition(".")
    for forged in (
        "",
        "touchstone_desk=",
        f"touchstone_desk={int(until) + 1}.{signature}",
        "touchstone_desk=x.y",
        "\x00",
    ):
        assert not door.knows(forged)
    clock[0] += 12 * 3600
    assert not door.knows(cookie)


def test_an_address_may_be_asked_for_on_a_network_and_no_foreign_name() -> None:
    rules = Rules(
        host="0.0.0.0", port=1, names=frozenset({"station.test", "*.shop.test"}), pin=PIN, certificate=None, key=None
    )

    def asked(host: str) -> Asked:
        return Asked(method="GET", path="/", scheme="https", headers={"host": host}, is_local=False)

    for host in ("station.test:8377", "10.1.2.3", "[2001:db8::1]:8377", "a.shop.test"):
        decide(asked(host), rules, signed_in=True)
    for host in ("evil.test", "shop.test", "x.a.shop.test", "station.test.evil.test"):
        with pytest.raises(Forbidden):
            decide(asked(host), rules, signed_in=True)
    with pytest.raises(NotSignedIn):
        decide(
            Asked(method="GET", path="/v1/inbox", scheme="https", headers={"host": "10.1.2.3"}, is_local=False),
            rules,
            signed_in=False,
        )


def test_a_port_that_is_taken_is_told_and_the_station_goes_on(home_with_model: Home) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        set_desk(home_with_model, other.getsockname()[1])
        with deskless(home_with_model) as daemon:
            wait_until(lambda: daemon.events("needs_a_person"), "it says so")
            (told,) = daemon.events("needs_a_person")
            assert "in use" in told["why"]
            assert "desk_port" in told["why"]
            assert over_socket(home_with_model.desk_socket, "/healthz") == 200


def test_a_crowd_of_connections_takes_no_files_from_the_station(
    home_with_model: Home, photo_of: Callable[..., bytes]
) -> None:
    with running(home_with_model) as (desk, daemon):
        crowd = [socket.create_connection(("127.0.0.1", desk.port), 20) for _ in range(200)]
        try:
            files = Path(f"/proc/{daemon.process.pid}/fd")
            wait_until(lambda: len(list(files.iterdir())) < 130, "the crowd is turned away", 60)
            assert over_socket(home_with_model.desk_socket, "/healthz") == 200
        finally:
            for one in crowd:
                one.close()

        def answers() -> bool:
            try:
                return desk.scan("bag", logo=photo_of(20)).status in (200, 201)
            except (OSError, http.client.HTTPException):  # the crowd is still on its way out
                return False

        wait_until(answers, "it answers again", 60)
