"""Feeds random payloads to the library, and reports the shortest payload that breaks a promise.

Most payloads are made by mutating a corpus payload's bytes or a sample event's values.
To reproduce a failure, use the printed seed: python tests/slow/fuzz_payload.py --seed N
"""

import argparse
import itertools
import json
import random
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from dxlthreateventclient import CommonThreatEventClient, ThreatEventDecodeError
from dxlthreateventclient.other_data import resolved_fields
from dxlthreateventclient.testing import sample_threat_event

sys.path.append(str(Path(__file__).parents[1]))
from helpers.corpus import MALFORMED, ODD
from helpers.decoding import check_is_decoded_alike
from helpers.receiving import Receiver, event
from helpers.schemas import check_formats

BATCH = 1000  # payloads for each seed.
# Mutating longer payloads would be slow and reveal little more.
CORPUS = [one for one in (*ODD.values(), *MALFORMED.values()) if isinstance(one, bytes) and len(one) < 10_000]
TOKENS = [
    *(b'{ } [ ] , : " \\ \0 null true false NaN Infinity -Infinity -0 1e999 1e-999 0x10 01 . - e'.split()),
    *(b"\xef\xbb\xbf \xff \xfe \xed\xa0\x80 \xc0\x80 \xf4\x90\x80\x80 \\ud800 \\udc00 \\u0000 \\u".split()),
    *(b' "event": "otherData": "files": "hash": "listOfX": "setOfX": "a, b" "{x}" "" {} [] [[ {"a":'.split()),
    *(b"", b" ", b"\n", b"9" * 4400, b"[" * 1100, b'{"a":' * 1100),
]
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 1e308, 10**30, "", " ", "a", "x" * 300, "\ud800", "\0", "é", "{ipv4}"),
    *("1", "-1", "1e5", "٣", "10.0.0.1", "0:0:0:0:0:FFFF:0A00:0010", "::1", "001122AABBCC", "a|b=c\\d\r\ne"),
    *("2026-05-04T03:02:01.123Z", "9999-12-31T23:59:59Z", "0001-01-01", "C:\\a\\b.exe", "http://[::1", "::"),
    *([], {}, [[]], [None], [{}], {"": ""}, {"a": {"b": []}}, {"SHA-256": "0" * 64}),
]
KEYS = ["", "\ud800", "listOfX", "setOfX", "0", "x" * 100]


@st.composite
def mutated_bytes(draw: st.DrawFn) -> bytes:
    payload = draw(st.sampled_from(CORPUS))
    for _ in range(draw(st.integers(1, 8))):
        start = draw(st.integers(0, len(payload)))
        end = draw(st.integers(start, min(len(payload), start + 64)))
        part = draw(st.sampled_from([*TOKENS, 2 * payload[start:end]]) | st.binary(max_size=8))
        payload = payload[:start] + part + payload[end:]
    return payload


@st.composite
def mutated_events(draw: st.DrawFn) -> bytes:
    threat_event = sample_threat_event()
    for _ in range(draw(st.integers(1, 16))):
        parent: Any = threat_event
        while parent:
            key = draw(st.sampled_from(list(parent) if isinstance(parent, dict) else range(len(parent))))
            if not isinstance(parent[key], (dict, list)) or not draw(st.integers(0, 4)):
                if isinstance(parent, dict) and draw(st.booleans()):
                    key = draw(st.sampled_from([key, *KEYS]))
                parent[key] = json.loads(json.dumps(draw(st.sampled_from(VALUES))))
                break
            parent = parent[key]
    document = json.dumps(threat_event, ensure_ascii=draw(st.booleans()))
    return document.encode(errors=draw(st.sampled_from(["replace", "surrogatepass"])))


@st.composite
def nested(draw: st.DrawFn) -> bytes:
    start, end = draw(st.sampled_from([(b"[", b"]"), (b'{"a":', b"}"), (b'[{"":', b"}]")]))
    inside = [b"%s", b'{"event": %s}', b'{"event": {"otherData": {"a": %s}}}', b'{"event": {"files": %s}}']
    # Near the recursion limit (a thousand levels), some decoded events cannot be encoded.
    depth = draw(st.integers(1, 440) | st.just(1100))
    return draw(st.sampled_from(inside)) % (start * depth + b"1" + end * depth)


def reject(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} got through")


@settings(
    max_examples=BATCH,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)
@given(
    st.sampled_from([*ODD.values(), *MALFORMED.values()])
    | st.binary(max_size=100)
    | nested()
    | mutated_bytes()
    | mutated_events()
)
def check(payload: Any) -> None:
    check_is_decoded_alike(payload)
    callback = Receiver()
    callback.on_event(event(payload))
    assert len(callback.handled) + len(callback.errors) == 1, "it is handed over once"
    if callback.errors:
        [(error, _)] = callback.errors
        assert type(error) is ThreatEventDecodeError
        assert error.payload is payload, "the error carries the payload"
        assert len(str(error)) < 1000, "its message is short"
        return
    [(threat_event, _)] = callback.handled
    document = json.dumps(threat_event, allow_nan=False)
    assert json.loads(document, parse_constant=reject) == threat_event, "it survives as JSON"
    check_formats(threat_event)
    inner = threat_event.get("event")
    other_data = inner.get("otherData") if isinstance(inner, dict) else None
    if isinstance(other_data, dict):
        resolved_fields(other_data)
        once = dict(CommonThreatEventClient.convert_aggregate_fields(other_data))
        assert CommonThreatEventClient.convert_aggregate_fields(other_data) == once, "twice is once"


def main() -> None:
    """Feed payloads for some time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, metavar="N", help="for how long (default 60)")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10**6), metavar="N", help="the first seed"
    )
    arguments = parser.parse_args()
    deadline = time.monotonic() + arguments.seconds
    for number in itertools.count(arguments.seed):
        if time.monotonic() > deadline:
            print(f"{(number - arguments.seed) * BATCH} payloads, and no promise broken")
            return
        print(f"seed {number}", end="\r", flush=True)
        seed(number)(check)()


if __name__ == "__main__":
    main()
