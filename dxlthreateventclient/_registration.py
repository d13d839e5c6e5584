"""What dxlclient is given for a callback.

It is added and removed in ``_subscriptions.py``, which waits for the broker's answer with ``_feed.py``.
"""

import copy
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import count
from types import BuiltinMethodType, MethodType
from typing import Any, Literal, Protocol, TypeAlias

from dxlclient.callbacks import EventCallback
from dxlclient.message import Event

from dxlthreateventclient._feed import Listener

Outcome: TypeAlias = Literal["handled", "failed", "filtered"]
Deliver: TypeAlias = Callable[[Event], Outcome]

# Guards the counts, which several workers may change.
_counting = threading.Lock()
numbers = count()
"""Numbers registrations and removals in their order: a callback may be added again after it was removed."""


class Owner(Protocol):
    """A client through which a callback was added."""

    counts: Counter[str]
    last_event_at: float | None
    listener: Listener


class Registration(EventCallback):
    """What dxlclient is given for a callback. It is equal to it, and keeps it from disturbing others.

    :param topic: the topic or filter
    :param callback: the caller's own object
    :param deliver: hands an event to the callback, and never raises
    :param report: called when it has been removed, with how many events had arrived and were passed over;
        logs that, and returns how many events were dropped in all
    """

    def __init__(
        self, topic: str, callback: Any, deliver: Deliver, report: Callable[["Registration", int], int]
    ) -> None:
        super().__init__()
        self.topic = topic
        self.callback = callback
        self.number = next(numbers)
        # Set at once when the callback is removed; dxlclient hears of it later.
        self.is_removed = False
        # Whether all that had arrived until it was removed has been handed over.
        self.is_drained = False
        self.owners: tuple[Owner, ...] = ()
        # How many events it was called with, and for how many of these calls the callback has returned.
        self.received = self.finished = 0
        self.arrived_before = 0
        self.parent: Parent | None = None
        self._deliver = deliver
        self._report = report

    def on_event(self, event: Event) -> None:
        """Hand a copy of the event to the callback. Called by dxlclient."""
        if self.is_removed:
            return
        with _counting:
            self.received += 1  # at once: what is being handled when this is removed is not passed over
        # What one callback does to its event reaches no other.
        outcome = self._deliver(copy_event(event))
        now = time.time()
        with _counting:
            self.finished += 1
            for owner in self.owners:
                owner.counts[outcome] += 1
                owner.last_event_at = now

    def report_passed_over(self, arrived: int) -> None:
        """Report that this has been removed.

        :param arrived: how many events have arrived on the topic
        """
        passed_over = 0 if self.is_drained else max(0, arrived - self.arrived_before - self.received)
        dropped = passed_over
        with suppress(Exception):  # what a logging handler raises
            dropped = self._report(self, passed_over)
        for owner in self.owners:
            owner.counts["dropped"] += dropped

    def is_for(self, callback: Any) -> bool:
        """Return whether this is the registration of a callback: of that very object, whatever equals it."""
        own = self.callback
        # Python makes a new object each time a method is named: the same function of the same object is
        # meant.
        is_method = type(own) is type(callback) and isinstance(own, (MethodType, BuiltinMethodType))
        return own is callback or (is_method and bool(own == callback))

    def __eq__(self, other: object) -> bool:
        return self.is_for(other.callback if isinstance(other, Registration) else other)

    def __hash__(self) -> int:
        return id(self)


class Parent(EventCallback):
    """Hands over what a filter receives on the topic above it, where dxlclient looks for no filter."""

    def __init__(self, registration: Registration, is_on_topic: Callable[[str, Any], object]) -> None:
        super().__init__()
        self.topic = registration.topic.removesuffix("/#")
        self._is_on_topic = is_on_topic
        self._registration = registration

    def on_event(self, event: Event) -> None:
        """Hand the event over. Called by dxlclient."""
        # A callback that is on the topic itself, too, has got the event there.
        if not self._is_on_topic(self.topic, self._registration.callback):
            self._registration.on_event(event)


def copy_event(event: Event) -> Event:
    """Return a copy that shares nothing with the event that could be changed.

    It is made for each callback, and takes a fifth of the time of ``copy.deepcopy()``.
    """
    own: Event = Event.__new__(type(event))
    fields = own.__dict__ = event.__dict__.copy()
    for name, value in fields.items():
        kind = type(value)
        if kind is list or kind is dict:
            fields[name] = value.copy()
    # A DXL message can carry any MessagePack value as its payload.
    if not isinstance(event.payload, bytes):
        own.payload = copy.deepcopy(event.payload)
    return own


def is_in(one: object, several: Iterable[object]) -> bool:
    """Return whether an object itself is among others: registrations are equal to more than themselves."""
    return any(one is other for other in several)


def check_topic(topic: str) -> None:
    """Check that dxlclient can receive on a topic.

    :raise TypeError: if it is not a string
    :raise ValueError: if no event could arrive under it
    """
    if not isinstance(topic, str):
        raise TypeError(f"topic must be a string, got {topic!r}")
    levels = topic.split("/")
    if (
        not topic
        or "+" in topic
        or "\0" in topic
        or "#" in topic.removesuffix("#")
        or (topic[-1] == "#" and levels[-1] != "#")
    ):
        raise ValueError(f"topic must be an exact topic, or a filter that ends in '/#', got {topic!r}")
