"""A station's desk in memory: the page's other half while it is made, with switches for what goes wrong.

Speaks the same HTTP as the daemon, and judges nothing: a test says what comes next. Run it to look at the page:
``python -m tests.edge_agent.desk_page.fake_desk [PORT]``.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import secrets
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

ROOT = Path(__file__).resolve().parents[3]
STATIC = ROOT / "edge_agent" / "desk" / "static"
SAMPLE = ROOT / "calibration_data" / "sample" / "photos"
ITEMS = {path.name for path in SAMPLE.iterdir()}
VIEWS = ("logo", "stitching", "hardware")
SHOWN = {"authentic": "confirmed", "suspect": "not confirmed", "uncertain": "sent to an expert"}
CSP = "default-src 'self'; img-src 'self' blob:; media-src 'self' blob:"
MODEL = {"name": "leather-goods", "release": 12, "variant": "ort-cpu-int8"}
Json = dict[str, Any]


def now() -> str:
    return datetime.now(UTC).isoformat()


def picture(view: str, item: str = "LG-000002") -> bytes:
    item = item if item in ITEMS else "LG-000004"
    view = view.split("~")[0]
    return (SAMPLE / item / f"{view if view in VIEWS else 'logo'}.jpg").read_bytes()


@dataclass
class FakeDesk:
    """The memory of a station, the switches of a test, and the server in a thread."""

    views: tuple[str, ...] = VIEWS
    state: Json = field(default_factory=dict)
    sessions: dict[str, Json] = field(default_factory=dict)
    finished: dict[str, Json] = field(default_factory=dict)
    records: list[Json] = field(default_factory=list)
    photos: dict[str, bytes] = field(default_factory=dict)
    answers: list[Json] = field(default_factory=list)
    read_up_to: int = 0
    objections: dict[str, str] = field(default_factory=dict)
    deferred: list[int] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    problems_next: list[list[Json]] = field(default_factory=list)
    verdicts_next: list[Json] = field(default_factory=list)
    seen_wrong: list[Json] = field(default_factory=list)
    refused: dict[tuple[str, str], bytes] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    frames: Iterator[int] = field(default_factory=itertools.count)
    lose_answers: set[str] = field(default_factory=set)
    pin: str | None = None
    item_shown: str = "LG-000004"
    port: int = 0

    def __post_init__(self) -> None:
        self.state = {
            "station": "st-0007",
            "name": "Dock 4",
            "language": "en",
            "connection": {"online": True, "last_contact": now(), "error": None},
            "disk": {"free_bytes": 41_500_000_000, "scanning": True, "why": None},
            "camera": {"source": "browser", "ok": True, "why": None},
            "update": {"state": "idle", "detail": "", "release": 12, "waits_until": None, "deferred_until": None},
            "model": MODEL,
            "pending": 0,
        }
        with socket.socket() as free:
            free.bind(("127.0.0.1", self.port))
            self.port = free.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> FakeDesk:
        config = uvicorn.Config(
            Guard(self, build(self)), port=self.port, log_level="error", ws="none", lifespan="off", access_log=False
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        deadline = time.monotonic() + 10
        while not self.server.started:
            assert time.monotonic() < deadline, "the fake desk does not start"
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        self.server.should_exit = self.server.force_exit = True
        self.thread.join(10)
        assert not self.thread.is_alive()

    def add_record(self, item: str, verdict: str = "authentic", **more: Any) -> Json:
        """Put a record into the history, as if it had been scanned."""
        views = [{"view": view, "sha256": self.keep(picture(view, item)), "logit": 0.1} for view in self.views]
        return self._record(item, views, {"verdict": verdict, **more})

    def keep(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        self.photos[sha256] = data
        return sha256

    def told(self, logged_in: bool) -> Json:
        shown = {key: value for key, value in self.state.items() if key != "pending"}
        cases = [one for one in self.records if one["verdict"] != "authentic" or one["audited"]]
        queue = {
            "recorded": len(self.records),
            "acked": len(self.records) - self.state["pending"],
            "pending": self.state["pending"],
            "parked": 0,
            "cases": len(cases),
            "waiting_cases": len([one for one in cases if one["answer"] is None]),
        }
        unread = len([one for one in self.answers if one["seq"] > self.read_up_to])
        return {**shown, "views": list(self.views), "queue": queue, "unread": unread, "logged_in": logged_in}

    def session(self, identity: str) -> Json:
        if identity not in self.sessions:
            raise HTTPException(404, "no such session; scan the item's code again")
        return self.sessions[identity]

    def conclude(self, identity: str) -> Json:
        """End a session with the verdict that the test has laid out, or a plain one; a second time, with the same."""
        if identity in self.finished:
            return {**self.finished[identity], "again": True}
        session = self.session(identity)
        taken = [
            {"view": one["view"], "sha256": one["sha256"], "logit": -2.1} for one in session["views"] if one["sha256"]
        ]
        missing = [one["view"] for one in session["views"] if not one["sha256"]]
        out: Json = {"verdict": "authentic"}
        if missing:
            reasons = [{"code": "missing_view", "text": f"the view {view!r} has no photo"} for view in missing]
            out = {"verdict": "uncertain", "reasons": reasons, "p_counterfeit": None}
        if self.verdicts_next:
            out = self.verdicts_next.pop(0)
        del self.sessions[identity]
        self.finished[identity] = self._record(session["item_id"], taken, out)
        return self.finished[identity]

    def _record(self, item: str, views: list[Json], out: Json) -> Json:
        verdict = out["verdict"]
        record = {
            "seq": len(self.records) + 1,
            "record_id": hashlib.sha256(f"{item} {len(self.records)}".encode()).hexdigest(),
            "item_id": item,
            "verdict": verdict,
            "shown": SHOWN[verdict],
            "reasons": [{"code": "within_budget", "text": "all scores lie within the certified thresholds"}],
            "scanned_at": now(),
            "audited": False,
            "objected": False,
            "again": False,
            "scan_ms": 18.4,
            "p_counterfeit": 0.012,
            "p_fraud": 0.031,
            "views": views,
            "references": [
                {"view": one["view"], "url": f"/v1/references/{one['view'].split('~')[0]}/1", "similarity": 0.94}
                for one in views
            ],
            "model": self.state["model"],
            "state": "acked",
            "answer": None,
            **out,
        }
        self.records.append(record)
        return record


def summary(record: Json) -> Json:
    names = ("seq", "record_id", "item_id", "verdict", "shown", "scanned_at", "audited", "state", "answer", "objected")
    return {name: record[name] for name in names}


def verdict_of(record: Json) -> Json:
    return {name: value for name, value in record.items() if name not in ("seq", "state")}


class Guard:
    """What every answer has: the security policy, the log-in, and the answers that get lost on their way."""

    def __init__(self, desk: FakeDesk, app: ASGIApp) -> None:
        self.desk = desk
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = f"{scope['method']} {scope['path']}"
        self.desk.asked.append(path)
        lost = [one for one in self.desk.lose_answers if path.startswith(one)]

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"content-security-policy", CSP.encode()))
                if lost:
                    message["status"] = 502
            await send(message)

        header = dict(scope["headers"])
        if scope["method"] not in ("GET", "HEAD") and header.get(b"x-touchstone") != b"desk":
            await problem(403, "the header X-Touchstone is missing")(scope, receive, send)
        elif (
            self.desk.pin and scope["path"].startswith("/v1/") and b"touchstone_desk" not in header.get(b"cookie", b"")
        ):
            await problem(401, "enter the PIN of this station")(scope, receive, send)
        else:
            await self.app(scope, receive, sent)
        self.desk.lose_answers -= set(lost)


def problem(status: int, detail: str) -> JSONResponse:
    body = {"type": "about:blank", "title": "Refused", "status": status, "detail": detail}
    return JSONResponse(body, status, media_type="application/problem+json")


def build(desk: FakeDesk) -> Starlette:
    async def page(_: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def login(request: Request) -> Response:
        if (await request.json())["pin"] != desk.pin:
            return problem(403, "this is not the PIN of this station")
        answer = Response(status_code=204)
        answer.set_cookie("touchstone_desk", "in", httponly=True, samesite="strict")
        return answer

    async def state(_: Request) -> Response:
        return JSONResponse(desk.told(True))

    async def sessions(request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse({"sessions": list(reversed(desk.sessions.values()))})
        item = (await request.json())["item_id"]
        if not 1 <= len(item) <= 128 or "/" in item or item.startswith("."):
            return problem(422, f"item_id {item[:40]!a}: expected 1 to 128 characters of valid text; rename it")
        identity = secrets.token_hex(8)
        views = [{"view": view, "sha256": None, "problems": []} for view in desk.views]
        desk.sessions[identity] = {"session_id": identity, "item_id": item, "created_at": now(), "views": views}
        return JSONResponse(desk.sessions[identity], 201)

    async def session(request: Request) -> Response:
        found = desk.session(request.path_params["id"])
        if request.method == "GET":
            return JSONResponse(found)
        del desk.sessions[found["session_id"]]
        return Response(status_code=204)

    async def photo_of_session(request: Request) -> Response:
        found = desk.session(request.path_params["id"])
        view = request.path_params["view"]
        one = next((one for one in found["views"] if one["view"] == view), None)
        if request.method == "DELETE":
            found["views"] = [other for other in found["views"] if other is not one]
            return Response(status_code=204)
        if request.query_params.get("camera") == "1" and not desk.state["camera"]["ok"]:
            return problem(503, "the camera is unplugged")
        place, sent = (found["session_id"], view), await request.body()
        again = request.query_params.get("refused") == "1"
        data = sent or (desk.refused[place] if again else frame(view))
        desk.taken.append(hashlib.sha256(data).hexdigest())
        keep = again or request.query_params.get("keep") == "1"
        if not keep:
            desk.seen_wrong = desk.problems_next.pop(0) if desk.problems_next else []
        problems = desk.seen_wrong
        kept = keep or not problems
        if not (kept or sent):
            desk.refused[place] = data
        sha256 = desk.keep(data) if kept else None
        if kept and one is None:
            found["views"].append({"view": view, "sha256": sha256, "problems": problems})
        elif kept and one:
            one.update(sha256=sha256, problems=problems)
        return JSONResponse({"view": view, "kept": kept, "sha256": sha256, "problems": problems})

    async def refused_photo(request: Request) -> Response:
        return Response(desk.refused[request.path_params["id"], request.path_params["view"]], media_type="image/jpeg")

    def frame(view: str) -> bytes:
        """Take a photo that is like no other: the number behind a JPEG's end draws nothing."""
        return picture(view, desk.item_shown) + str(next(desk.frames)).encode()

    async def finish(request: Request) -> Response:
        return JSONResponse(verdict_of(desk.conclude(request.path_params["id"])))

    async def records(request: Request) -> Response:
        query = request.query_params
        before, limit, item = int(query.get("before", 1 << 60)), int(query.get("limit", 50)), query.get("item", "")
        found = [
            one for one in reversed(desk.records) if one["seq"] < before and item.lower() in one["item_id"].lower()
        ]
        older = found[limit - 1]["seq"] if len(found) > limit else None
        return JSONResponse({"records": [summary(one) for one in found[:limit]], "next_before": older})

    def record_of(request: Request) -> Json:
        found = next((one for one in desk.records if one["record_id"] == request.path_params["id"]), None)
        if found is None:
            raise HTTPException(404, "no such record")
        return found

    async def record(request: Request) -> Response:
        return JSONResponse(verdict_of(record_of(request)))

    async def objection(request: Request) -> Response:
        found = record_of(request)
        found["objected"] = True
        desk.objections[found["record_id"]] = (await request.json())["text"]
        return Response(status_code=204)

    async def photo(request: Request) -> Response:
        if request.path_params["sha256"] not in desk.photos:
            raise HTTPException(404, "this photo is gone")
        return Response(desk.photos[request.path_params["sha256"]], media_type="image/jpeg")

    async def reference(request: Request) -> Response:
        if request.path_params["number"] != 1 or request.path_params["view"] not in VIEWS:
            raise HTTPException(404, "the running model has no such photo")
        return Response(picture(request.path_params["view"], "LG-000002"), media_type="image/jpeg")

    async def inbox(_: Request) -> Response:
        waiting = [one for one in desk.records if one["verdict"] != "authentic" or one["audited"]]
        waiting = [one for one in waiting if one["answer"] is None]
        holds = [one for one in desk.records if one["audited"] and one["verdict"] == "authentic" and not one["answer"]]
        lists = {"waiting": [summary(one) for one in waiting], "holds": [summary(one) for one in holds]}
        return JSONResponse({"answers": desk.answers, **lists, "read_up_to": desk.read_up_to})

    async def read(request: Request) -> Response:
        desk.read_up_to = (await request.json())["seq"]
        return Response(status_code=204)

    async def camera(_: Request) -> Response:
        return Response(picture(seen(), desk.item_shown), media_type="image/jpeg")

    def seen() -> str:
        """What lies before the station's camera: the next view that is asked for."""
        open_views = [one["view"] for found in desk.sessions.values() for one in found["views"] if not one["sha256"]]
        return open_views[0] if open_views else "logo"

    async def stream(request: Request) -> Response:
        async def frames() -> AsyncIterator[bytes]:
            while desk.state["camera"]["ok"] and not await request.is_disconnected():
                yield b"--f\r\nContent-Type: image/jpeg\r\n\r\n" + picture(seen(), desk.item_shown) + b"\r\n"
                await asyncio.sleep(0.1)

        if not desk.state["camera"]["ok"]:
            return problem(503, "the camera is unplugged")
        return StreamingResponse(frames(), media_type="multipart/x-mixed-replace; boundary=f")

    async def defer(request: Request) -> Response:
        desk.deferred.append((await request.json())["hours"])
        until = time.time() + 3600 * desk.deferred[-1]
        desk.state["update"]["deferred_until"] = datetime.fromtimestamp(until, UTC).isoformat()
        return Response(status_code=204)

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return problem(error.status_code, error.detail)

    def route(method: str, path: str, run: Callable[[Request], Awaitable[Response]]) -> Route:
        return Route(path, run, methods=method.split())

    return Starlette(
        routes=[
            route("GET", "/", page),
            route("POST", "/login", login),
            route("GET", "/v1/state", state),
            route("GET POST", "/v1/sessions", sessions),
            route("GET DELETE", "/v1/sessions/{id}", session),
            route("PUT DELETE", "/v1/sessions/{id}/photos/{view}", photo_of_session),
            route("GET", "/v1/sessions/{id}/photos/{view}/refused", refused_photo),
            route("POST", "/v1/sessions/{id}/finish", finish),
            route("GET", "/v1/records", records),
            route("GET", "/v1/records/{id}", record),
            route("POST", "/v1/records/{id}/objection", objection),
            route("GET", "/v1/photos/{sha256}", photo),
            route("GET", "/v1/references/{view}/{number:int}", reference),
            route("GET", "/v1/inbox", inbox),
            route("POST", "/v1/inbox/read", read),
            route("GET", "/v1/camera.jpg", camera),
            route("GET", "/v1/camera.mjpg", stream),
            route("POST", "/v1/update/defer", defer),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        exception_handlers={HTTPException: refused},
    )


if __name__ == "__main__":
    running = FakeDesk(port=int(sys.argv[1]) if len(sys.argv) > 1 else 8377)
    running.state["camera"]["source"] = "station"
    print(running.start().url)
    running.thread.join()
