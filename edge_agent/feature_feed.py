"""Fetches the listing features that the server sends ahead, a page at a time. Never asks more often than it must."""

from __future__ import annotations

import time

from edge_agent.features import add_features, last_features
from edge_agent.journal import note
from edge_agent.outbox import Outbox
from edge_agent.server_link import RefusedForGood, ServerLink
from runtime.contracts.sync import MAX_FEATURES_PAGE, FeaturesAhead

FEATURES_EVERY_S = 60.0


class FeatureFeed:
    """One page at a time; the uplink's loop decides when."""

    def __init__(self, *, outbox: Outbox, link: ServerLink, max_age_s: float, most: int) -> None:
        self._outbox = outbox
        self._link = link
        self._max_age_s = max_age_s
        self._most = most
        self._asked_at_s = -FEATURES_EVERY_S

    def step(self) -> bool:
        """Fetch one page, where it is time; tell whether more may be waiting.

        Raises:
            TryLater: the server is down, or did not answer what this route answers.
        """
        if time.monotonic() - self._asked_at_s < FEATURES_EVERY_S:
            return False
        self._asked_at_s = time.monotonic()  # before it can fail: trouble here must not slow the uplink down
        after = last_features(self._outbox)
        page = self._page(after)
        if page.features:
            add_features(
                self._outbox,
                page,
                after=after,
                server_now_s=time.time() + self._link.clock_offset_s,
                max_age_s=self._max_age_s,
                most=self._most,
            )
            note("features", count=len(page.features))
        more = len(page.features) >= MAX_FEATURES_PAGE
        if more:
            self._asked_at_s = -FEATURES_EVERY_S
        return more

    def _page(self, after: int) -> FeaturesAhead:
        path = f"/v1/station/features?after={after}&limit={MAX_FEATURES_PAGE}"
        try:
            return self._link.request("GET", path).read(FeaturesAhead, "features")
        except RefusedForGood as refused:
            if refused.status != 404:
                raise
            return FeaturesAhead(features=())  # a server from before there were any
