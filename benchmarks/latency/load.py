"""How orders reach the systems, and what comes back. Decides nothing about the answers.

Systems are interleaved, so that a machine whose speed drifts hits all alike. On a schedule a latency counts from the
scheduled arrival, so that a system that is busy cannot hide the wait (Tene's "coordinated omission").
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.latency.children import Child, Reply
from benchmarks.latency.scenarios import Phase
from runtime.contracts.errors import StationFault

JITTER_SHARE = 0.2
"""Arrivals come up to so great a share of their interval early or late, so that nothing beats in time with them."""
SLICES = 2
BLOCK = 4
_REFERENCES = 4

Order = Mapping[str, Any]
Orders = Callable[[int], Order]
"""Makes the order of a number, its photos included, at the moment when it is sent; one number is one set of photos."""
Between = Callable[[], None]
"""Called a few times while no system has work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One counted verdict; ``number`` is its order's, ``at_s`` its arrival since the first."""

    number: int
    at_s: float
    latency_ms: float
    reply: Reply


@dataclass(slots=True, kw_only=True)
class Played:
    """What one system gave back; ``late_ms`` is how late the suite was, ``cannot`` an order that the system refuses."""

    taken: list[Taken] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    cannot: str = ""
    died: str = ""

    @property
    def over(self) -> bool:
        """Tell whether there is nothing more to be had."""
        return bool(self.died or self.cannot)

    def keep(self, number: int, arrival_ns: int, first_ns: int, reply: Reply) -> None:
        """Count an answer, good or bad."""
        if reply.cannot:
            self.cannot = reply.cannot
        elif reply.failed:
            self.failed.append(reply.failed)
        else:
            latency_ms = (reply.done_ns - arrival_ns) / 1e6
            at_s = (arrival_ns - first_ns) / 1e9
            self.taken.append(Taken(number=number, at_s=at_s, latency_ms=latency_ms, reply=reply))


def in_turn(
    children: Sequence[Child], orders: Orders, count: int, *, warm_up: int, seed: int, between: Between
) -> dict[str, Played]:
    """Give every system the same order once a round, in an order drawn anew; the next when the answer is there."""
    random, played = np.random.default_rng(seed), {child.name: Played() for child in children}
    first_ns = time.monotonic_ns()
    for number in range(warm_up + count):
        order = orders(number)
        for index in random.permutation(len(children)):
            child = children[index]
            mine = played[child.name]
            if mine.over:
                continue
            with _deaths(mine):
                reply = child.ask(order)
                if number >= warm_up or reply.cannot or reply.failed:
                    mine.keep(number, reply.started_ns, first_ns, reply)
        if number >= warm_up and _is_time(number - warm_up, count):
            between()
    return played


def back_to_back(
    children: Sequence[Child], orders: Orders, count: int, *, warm_up: int, between: Between
) -> dict[str, Played]:
    """Keep one system busy for a block of orders, the next always waiting in its pipe; then the next system.

    A verdict's clock starts at the verdict before; each block begins with ``warm_up`` orders that are not counted.
    """
    played = {child.name: Played() for child in children}
    first_ns = time.monotonic_ns()
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        numbers = range((start // BLOCK) * (BLOCK + warm_up), (start // BLOCK) * (BLOCK + warm_up) + warm_up + size)
        for child in children:
            mine, before_ns = played[child.name], 0
            if mine.over:
                continue
            with _deaths(mine):
                child.send(orders(numbers[0]))
                for position, number in enumerate(numbers):
                    if position + 1 < len(numbers):
                        child.send(orders(numbers[position + 1]))
                    reply = child.receive()
                    if position >= warm_up or reply.cannot or reply.failed:
                        mine.keep(number, before_ns, first_ns, reply)
                    before_ns = reply.done_ns
        between()
    return played


def on_schedule(
    children: Sequence[Child],
    orders: Orders,
    arrivals_s: Sequence[float],
    *,
    slices: int,
    warm_up: int,
    between: Between,
    swaps: Mapping[int, Order] | None = None,
) -> dict[str, Played]:
    """Send orders when they are due, whether or not the system is ready; the systems take turns, slice by slice.

    Args:
        children: to play with.
        orders: by number: first those that warm up, then those of ``arrivals_s``.
        arrivals_s: when each is due, from ``schedule``.
        slices: in how many parts every system gets them.
        warm_up: orders before each slice that are not counted.
        between: called after every slice.
        swaps: orders that are sent just before an arrival, by its index; the first of them also warms up.
    """
    played, swaps = {child.name: Played() for child in children}, swaps or {}
    for part in np.array_split(np.arange(len(arrivals_s)), slices):
        for child in children:
            mine = played[child.name]
            with _deaths(mine):
                if swaps and not mine.over and part[0] == 0:  # who refuses need not be played with
                    mine.cannot = child.ask(next(iter(swaps.values()))).cannot
                if not mine.over:
                    for number in range(warm_up):
                        child.ask(orders(number))
                    _play_slice(child, orders, arrivals_s, part.tolist(), warm_up, mine, swaps)
            between()
    return played


def _play_slice(
    child: Child,
    orders: Orders,
    arrivals_s: Sequence[float],
    part: Sequence[int],
    warm_up: int,
    mine: Played,
    swaps: Mapping[int, Order],
) -> None:
    """Send from here while the child's own thread reads the answers; collect them when all are sent."""
    zero_ns = time.monotonic_ns() + 10_000_000 - round(arrivals_s[part[0]] * 1e9)
    for index in part:
        due_ns = zero_ns + round(arrivals_s[index] * 1e9)
        time.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
        if index in swaps:
            child.send(swaps[index])
        child.send(orders(index + warm_up))
        mine.late_ms.append((time.monotonic_ns() - due_ns) / 1e6)
    for index in part:
        if index in swaps:
            swap = child.receive()
            mine.cannot = mine.cannot or swap.cannot
            mine.failed += [swap.failed] if swap.failed else []
        mine.keep(index + warm_up, zero_ns + round(arrivals_s[index] * 1e9), zero_ns, child.receive())
    if swaps and not mine.over:  # its work is not to slow what is looked at next
        settled = child.ask({"do": "settle"})
        mine.failed += [settled.failed] if settled.failed else []


def schedule(phases: Sequence[Phase], *, seed: int) -> list[float]:
    """Return when each of the phases' arrivals is due, seconds from the first; never out of order."""
    random, due_s, arrivals_s = np.random.default_rng(seed), 0.0, []
    for phase in phases:
        interval_s = 1 / phase.rate_per_s
        for shift in random.uniform(-JITTER_SHARE, JITTER_SHARE, phase.count):
            arrivals_s.append(max(0.0, due_s + float(shift) * interval_s))
            due_s += interval_s
    first_s = min(arrivals_s)
    return sorted(due_s - first_s for due_s in arrivals_s)


@contextmanager
def _deaths(played: Played) -> Iterator[None]:
    """Note that a system died instead of ending the run."""
    try:
        yield
    except StationFault as error:
        played.died = str(error)


def _is_time(done: int, count: int) -> bool:
    return (done + 1) % max(1, count // _REFERENCES) == 0
