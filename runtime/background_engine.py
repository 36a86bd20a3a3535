"""Serves one network while a faster one is made in the background, and changes over only once they agree.

Never makes a caller wait: the new network is compared on copies of batches that were served, in its own thread. A new
network that disagrees, cannot be made or fails later is dropped for good, with the reason in words.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from runtime.contracts.errors import StationFault, TouchstoneError
from runtime.engine import Network

Arrays = Mapping[str, npt.NDArray[Any]]
Ask = Callable[[Network, Arrays], dict[str, npt.NDArray[Any]]]
State = Literal["building", "comparing", "changed over", "refused"]

AGREE_ON_BATCHES = 3
LARGEST_RELATIVE_ERROR = 0.02
"""Of an output's Euclidean norm; FP16 stays under half of it on the networks tried here."""

_BATCH = "batch"


class BackgroundEngine:
    """A ``Network`` that is one network at first and another one later.

    Attributes:
        state: where the change-over stands.
        reason: why the other network was refused, in words.
    """

    def __init__(self, serving: Network, make: Callable[[], Network]) -> None:
        """Start making the other network.

        Args:
            serving: what runs until then, and again should the other one fail.
            make: returns the other network; called once, in a thread.
        """
        self.state: State = "building"
        self.reason: str | None = None
        self._first = serving
        self._serving = serving
        self._seen: list[tuple[Ask, Arrays, Arrays]] = []
        self._enough = threading.Condition()
        self._thread = threading.Thread(target=self._change_over, args=(make,), name="engine", daemon=True)
        self._thread.start()

    def run(self, batch: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Run one batch on whichever network serves now; safe to call from several threads.

        Raises:
            StationFault: the network that serves failed, and the first one too.
        """
        return self._serve(lambda network, fed: {_BATCH: network.run(fed[_BATCH])}, {_BATCH: batch})[_BATCH]

    def run_all(self, feeds: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Run one feed likewise and return every output by its name.

        Raises:
            StationFault: the network that serves failed, and the first one too.
        """
        return self._serve(lambda network, fed: network.run_all(fed), feeds)

    def wait(self, timeout_s: float) -> State:
        """Wait for the change-over to be decided, at most so long, and return where it stands."""
        self._thread.join(timeout_s)
        return self.state

    def _serve(self, ask: Ask, feeds: Arrays) -> dict[str, npt.NDArray[Any]]:
        serving = self._serving
        try:
            outputs = ask(serving, feeds)
        except StationFault as error:
            if serving is self._first:
                raise
            self._refuse(f"it failed after it had taken over: {error}")
            return ask(self._first, feeds)
        if serving is self._first and self.state in ("building", "comparing"):
            self._remember(ask, feeds, outputs)
        return outputs

    def _remember(self, ask: Ask, feeds: Arrays, outputs: Arrays) -> None:
        with self._enough:
            if len(self._seen) < AGREE_ON_BATCHES:
                fed = {name: array.copy() for name, array in feeds.items()}
                self._seen.append((ask, fed, {name: array.copy() for name, array in outputs.items()}))
                self._enough.notify()

    def _change_over(self, make: Callable[[], Network]) -> None:
        try:
            made = make()
            self.state = "comparing"
            with self._enough:
                self._enough.wait_for(lambda: len(self._seen) >= AGREE_ON_BATCHES)
                seen = list(self._seen)
            for ask, feeds, expected in seen:
                error = relative_error(expected, ask(made, feeds))
                if not error <= LARGEST_RELATIVE_ERROR:  # not a number is no agreement
                    self._refuse(f"its outputs differ by {error:.1%}, at most {LARGEST_RELATIVE_ERROR:.1%} may")
                    return
        except TouchstoneError as error:
            self._refuse(str(error))
            return
        self._serving, self.state = made, "changed over"
        self._forget()

    def _refuse(self, reason: str) -> None:
        self._serving, self.state, self.reason = self._first, "refused", reason
        self._forget()

    def _forget(self) -> None:
        with self._enough:
            self._seen.clear()


def relative_error(expected: Arrays, got: Arrays) -> float:
    """Return the largest Euclidean norm of a difference over that of what was expected; infinite for other shapes."""
    if {name: array.shape for name, array in expected.items()} != {name: array.shape for name, array in got.items()}:
        return float("inf")
    return max(
        float(np.linalg.norm(np.subtract(got[name], array, dtype=np.float64).ravel()))
        / max(float(np.linalg.norm(array.ravel())), 1e-12)
        for name, array in expected.items()
    )
