from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import Unsupported
from runtime.contracts.records import StationId
from runtime.contracts.sync import (
    TOKEN_LIFETIME_S,
    EnrolmentCode,
    ReleaseInfo,
    parse_enrolment_code,
    request_claims,
    target_path,
)

CODE = "ABCDEFGH23456777-0123456789abcdef0123456789abcdef"


@settings(deadline=None)
@given(st.from_regex(r"[A-Z2-7]{16}", fullmatch=True), st.from_regex(r"[0-9a-f]{32}", fullmatch=True))
def test_a_code_comes_back_from_its_line(secret: str, root: str) -> None:
    code = EnrolmentCode(secret=secret, root_sha256=root)
    assert parse_enrolment_code(str(code)) == code
    assert parse_enrolment_code(f"  {code}\n") == code


@pytest.mark.parametrize(
    "text",
    [
        "",
        CODE[:-1],
        CODE + "0",
        CODE.lower(),
        CODE.replace("-", ""),
        CODE.replace("A", "1"),
        f"{CODE} {CODE}",
        "x" * 49,
    ],
)
def test_what_is_no_code_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(Unsupported, match="copy the whole line that 'touchstone-server enrolment-code' printed") as no:
        parse_enrolment_code(text)
    assert len(text) < 10 or text not in str(no.value)


def test_a_requests_claims_bind_it_and_live_for_a_minute() -> None:
    claims = request_claims(StationId("st-1"), "PUT", "/v1/records/1?x=2", sha256_hex(b""), 1_000)
    assert claims == {
        "iss": "st-1",
        "aud": "touchstone-sync",
        "iat": 1_000,
        "exp": 1_060,
        "htm": "PUT",
        "htu": "/v1/records/1?x=2",
        "bsh": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    }
    assert TOKEN_LIFETIME_S == 60


def test_a_releases_target_says_its_name_and_counter() -> None:
    assert target_path(ReleaseInfo(name="leather", release=12, floor=3)) == "leather/12/manifest.json"
