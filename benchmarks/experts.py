"""Stand-ins for the experts: they label every open case through the public API, from what the data knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from runtime.contracts.errors import TouchstoneError


class Experts:
    """Several people with a token each."""

    def __init__(self, server: str, tokens: Sequence[str]) -> None:
        self._clients = [
            httpx.Client(base_url=server, headers={"Authorization": f"Bearer {token}"}, timeout=30) for token in tokens
        ]

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            client.close()

    def open_cases(self) -> list[tuple[str, str]]:
        """Return (record_id, item_id) of every open case."""
        found: list[tuple[str, str]] = []
        query = {"state": "open", "limit": "200"}
        while True:
            page = _answer(self._clients[0].get("/v1/cases", params=query))
            found += [(case["record_id"], case["item_id"]) for case in page["cases"]]
            if page["next_after"] is None:
                return found
            query["after"] = page["next_after"]

    def label_all(self, truth: Mapping[str, str]) -> int:
        """Let everybody label every open case, and return how many there were.

        Args:
            truth: item_id to ``genuine`` or ``counterfeit``.

        Raises:
            TouchstoneError: the server refuses, or a case stays open.
        """
        cases = self.open_cases()

        def label(client: httpx.Client) -> None:
            for record_id, item_id in cases:
                _answer(client.post(f"/v1/cases/{record_id}/labels", json={"label": truth[item_id]}))

        with ThreadPoolExecutor(len(self._clients)) as people:
            list(people.map(label, self._clients))
        left = len(self.open_cases())
        if left:
            raise TouchstoneError(f"{left} cases stayed open although all experts agree")
        return len(cases)


def _answer(response: httpx.Response) -> Any:
    if response.is_error:
        request = response.request
        raise TouchstoneError(f"{request.method} {request.url.path}: {response.status_code} {response.text[:200]}")
    return response.json()
