"""Enrolment: a key made here, the TUF root pinned by the code, the code spent once, the station's history fetched.

An answer that got lost may be asked for again with the same code, because the key is on disk before it is sent. A
device that takes over a station's identity is enrolled only when it holds what the server has of that station, so that
no item gets a second first scan.
"""

from __future__ import annotations

from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root  # type: ignore[attr-defined]

from edge_agent.device_key import DeviceKey
from edge_agent.disk import disk_errors
from edge_agent.home import Home
from edge_agent.identity import Identity, check_server_url, read_identity, write_identity
from edge_agent.outbox import Outbox
from edge_agent.server_link import Refused, RefusedForGood, RefusedStation, ServerLink
from runtime.contracts.codec import canonical_json
from runtime.contracts.command import Progress
from runtime.contracts.durable import sha256_hex, write_durably
from runtime.contracts.errors import StationFault, TryLater, Unsupported, Untrusted
from runtime.contracts.records import StationId, check_name
from runtime.contracts.sync import EnrolAnswer, EnrolmentCode, EnrolRequest, StationHistory, parse_enrolment_code


def enrol(home: Home, *, server: str, code: str, name: str) -> tuple[Identity, bool]:
    """Enrol this station; return who it is, and whether it is so from now on only.

    Raises:
        StationFault: it is enrolled at another server, or the code is wrong, used or expired.
        TryLater: the server is down; the same code may be used again.
        Untrusted: the server's TUF root is not the one that the code names.
        Unsupported: the code or the name cannot be used.
    """
    server = check_server_url(server)
    earlier = read_identity(home)
    if earlier is not None:
        if earlier.server != server:
            raise StationFault(
                f"this station is enrolled at {earlier.server} as {earlier.station_id}; a station keeps its server: "
                "use another --home for another one"
            )
        return earlier, False
    parsed = parse_enrolment_code(code)
    check_name(name, "station name")
    home.create()
    with disk_errors("enrolment"):
        key = DeviceKey.load_or_create(home)
        link = ServerLink(server)
        try:
            root = _pinned_root(link, parsed)
            answer = _spend(link, parsed, key, name)
            _fetch_history(home, link, answer.station_id, key)
        finally:
            link.close()
        identity = Identity(
            station_id=answer.station_id,
            name=name,
            server=server,
            audit_key=answer.audit_key,
            audit_share=answer.audit_share,
        )
        write_durably(home.root_metadata_file, root)
        write_identity(home, identity)  # last: its being there is what "enrolled" means
    return identity, True


def _pinned_root(link: ServerLink, code: EnrolmentCode) -> bytes:
    try:
        root = link.request("GET", "/v1/tuf/1.root.json").body
    except RefusedForGood as error:
        raise TryLater(f"enrolment: {link.server} answers, but is no Touchstone server ({error})") from error
    if not sha256_hex(root).startswith(code.root_sha256):
        raise Untrusted(
            f"enrolment: the server at {link.server} is not the one that issued this code (its TUF root differs); "
            "check the address, or ask for a new code"
        )
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(root)
        if not isinstance(metadata.signed, Root):
            raise Untrusted("enrolment: what the code names is no TUF root; ask for a new code")
        metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError) as error:
        raise Untrusted(f"enrolment: the TUF root that the code names does not verify ({error})") from error
    return root


def _fetch_history(home: Home, link: ServerLink, station_id: StationId, key: DeviceKey) -> None:
    signed = ServerLink(link.server, station_id=station_id, key=key, clock_offset_s=link.clock_offset_s)
    outbox, progress, path = Outbox(home.database_file), Progress("history"), "/v1/station/history"
    try:
        page = _history_page(signed, path)
        while page.records:
            if any(record.station_id != station_id for record in page.records):
                raise TryLater("not enrolled yet: the server sent another station's history; use the code again later")
            outbox.restore(page.records)
            progress(outbox.tally().recorded, max(page.total, 1))
            page = _history_page(signed, f"{path}?after={page.records[-1].record_id}")
    finally:
        outbox.close()
        signed.close()


def _history_page(link: ServerLink, path: str) -> StationHistory:
    try:
        return link.request("GET", path).read(StationHistory, "history")
    except RefusedForGood as error:
        if error.status == 404:  # a server from before a device could be replaced
            return StationHistory(records=(), total=0)
        raise


def _spend(link: ServerLink, code: EnrolmentCode, key: DeviceKey, name: str) -> EnrolAnswer:
    request = EnrolRequest(secret=code.secret, public_key=key.public_hex, name=name)
    try:
        answer = link.request("POST", "/v1/enrol", canonical_json(request)).read(EnrolAnswer, "enrolment")
    except (RefusedStation, RefusedForGood) as error:
        reason = error.problem.get("detail") or error
        raise StationFault(f"not enrolled: {reason}") from error
    except Refused as error:
        raise TryLater(f"not enrolled yet: {error}; use the same code again later") from error
    try:
        bytes.fromhex(answer.audit_key)
        check_name(answer.station_id, "station id")
    except (ValueError, Unsupported) as error:
        raise TryLater(f"not enrolled yet: the server's answer makes no sense ({error}); try again later") from error
    if not 0.0 <= answer.audit_share <= 1.0:
        raise TryLater("not enrolled yet: the server's audit share lies outside 0 to 1; try again later")
    return answer
