"""Feeds random payloads to the library, and stops at the first that breaks a promise.

Most payloads are mutations: of the bytes of one of the corpus, or of the values of a sample event. The seed
that it prints repeats a run: python tests/slow/fuzz_payload.py --seed N --payloads N
"""

import argparse
import copy
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from dxlthreateventclient import CommonThreatEventClient, ThreatEventDecodeError
from dxlthreateventclient.other_data import resolved_fields
from dxlthreateventclient.testing import sample_threat_event

sys.path.append(str(Path(__file__).parents[1]))
from helpers.corpus import MALFORMED, ODD
from helpers.decoding import check_is_decoded_alike
from helpers.receiving import Receiver, event
from helpers.schemas import check_formats

# Mutations of longer payloads would show little more, and take long.
_LONGEST = 10_000
_TOKENS = [
    *(b'{ } [ ] , : " \\ \0 null true false NaN Infinity -Infinity -0 1e999 1e-999 0x10 01 . - e'.split()),
    *(b"\xef\xbb\xbf \xff \xfe \xed\xa0\x80 \xc0\x80 \xf4\x90\x80\x80 \\ud800 \\udc00 \\u0000 \\u".split()),
    *(b' "event": "otherData": "files": "hash": "listOfX": "setOfX": "a, b" "{x}" "" {} [] [[ {"a":'.split()),
    b" ",
    b"\n",
    b"9" * 4400,
    b"[" * 1100,
    b'{"a":' * 1100,
]
_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 1e308, 10**30, "", " ", "a", "x" * 300, "\ud800", "\0", "é", "{ipv4}"),
    *("1", "-1", "1e5", "٣", "10.0.0.1", "0:0:0:0:0:FFFF:0A00:0010", "::1", "001122AABBCC", "a|b=c\\d\r\ne"),
    *("2026-05-04T03:02:01.123Z", "9999-12-31T23:59:59Z", "0001-01-01", "C:\\a\\b.exe", "http://[::1", "::"),
    *([], {}, [[]], [None], [{}], {"": ""}, {"a": {"b": []}}, {"SHA-256": "0" * 64}),
]


def _reject(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} got through")


def check(payload: Any) -> str:
    """Feed a payload to the library; return what became of it, or raise AssertionError."""
    check_is_decoded_alike(payload)
    callback = Receiver()
    callback.on_event(event(payload))
    assert len(callback.handled) + len(callback.errors) == 1, "it is handed over once"
    if callback.errors:
        [(error, _)] = callback.errors
        assert type(error) is ThreatEventDecodeError
        assert error.payload is payload, "the error carries the payload"
        assert len(str(error)) < 1000, "its message is short"
        return error.reason.split(":")[0]
    [(threat_event, _)] = callback.handled
    assert type(threat_event) is dict
    document = json.dumps(threat_event, allow_nan=False)
    assert json.loads(document, parse_constant=_reject) == threat_event, "it survives as JSON"
    check_formats(threat_event)
    _check_other_data(threat_event)
    return "decoded"


def _check_other_data(threat_event: dict[str, Any]) -> None:
    inner = threat_event.get("event")
    other_data = inner.get("otherData") if isinstance(inner, dict) else None
    if isinstance(other_data, dict):
        resolved_fields(other_data)
        once = dict(CommonThreatEventClient.convert_aggregate_fields(other_data))
        assert CommonThreatEventClient.convert_aggregate_fields(other_data) == once, (
            "converting twice is once"
        )


def payloads(chance: random.Random) -> Iterator[Any]:
    """Yield payloads without end: first the corpus as it is, then mutations."""
    yield from MALFORMED.values()
    yield from ODD.values()
    seeds = [payload for payload in ODD.values() if len(payload) < _LONGEST]
    seeds += [
        payload for payload in MALFORMED.values() if isinstance(payload, bytes) and len(payload) < _LONGEST
    ]
    while True:
        match chance.randrange(10):
            case 0:
                yield chance.randbytes(chance.randrange(100))
            case 1:
                yield _nested(chance)
            case 2 | 3 | 4:
                yield _mutated_bytes(chance, chance.choice(seeds))
            case _:
                yield json.dumps(_mutated_event(chance), ensure_ascii=chance.random() < 0.5).encode(
                    errors=chance.choice(["replace", "surrogatepass"])
                )


def _nested(chance: random.Random) -> bytes:
    start, end = chance.choice([(b"[", b"]"), (b'{"a":', b"}"), (b'[{"":', b"}]")])
    where = chance.choice(
        [b"%s", b'{"event": %s}', b'{"event": {"otherData": {"a": %s}}}', b'{"event": {"files": %s}}']
    )
    # Close to the limit of recursion (a thousand levels), what can be decoded cannot always be encoded.
    depth = chance.choice([chance.randrange(1, 440), 1100])
    return where % (start * depth + b"1" + end * depth)


def _mutated_bytes(chance: random.Random, payload: bytes) -> bytes:
    mutated = bytearray(payload)
    for _ in range(chance.choice([1, 1, 1, 2, 4, 16])):
        start = chance.randrange(len(mutated) + 1)
        end = min(len(mutated), start + chance.choice([0, 1, 1, 2, 8, 64]))
        match chance.randrange(5):
            case 0:
                mutated[start:end] = b""
            case 1:
                mutated[start:end] = chance.randbytes(end - start)
            case 2:
                mutated[start:end] *= 2
            case 3:
                del mutated[start:]
            case _:
                mutated[start:end] = chance.choice(_TOKENS)
    return bytes(mutated)


def _mutated_event(chance: random.Random) -> Any:
    threat_event: dict[str, Any] = sample_threat_event()
    for _ in range(chance.choice([1, 2, 4, 16])):
        parent: Any = threat_event
        while parent:
            keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
            key = chance.choice(keys)
            if isinstance(parent[key], (dict, list)) and parent[key] and chance.random() < 0.8:
                parent = parent[key]
                continue
            match chance.randrange(4):
                case 0:
                    del parent[key]
                case 1 if isinstance(parent, dict):
                    parent[chance.choice(["", "\ud800", "listOfX", "setOfX", "0", "x" * 100])] = parent[key]
                case _:
                    parent[key] = copy.deepcopy(chance.choice(_VALUES))
            break
    return threat_event


def main() -> int:
    """Run for a time, or for a number of payloads, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=60, metavar="N", help="stop after N seconds (default 60)"
    )
    parser.add_argument("--payloads", type=int, metavar="N", help="stop after N payloads instead")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32), metavar="N")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    outcomes: Counter[str] = Counter()
    started = time.monotonic()
    for count, payload in enumerate(payloads(random.Random(arguments.seed))):
        if count == arguments.payloads or (
            arguments.payloads is None and time.monotonic() - started > arguments.seconds
        ):
            break
        try:
            outcomes[check(payload)] += 1
        except BaseException:
            print(f"payload {count} breaks a promise: {payload!r}", file=sys.stderr)
            raise
    for outcome, times in outcomes.most_common():
        print(f"{times:>10} {outcome}")
    print(
        f"{outcomes.total():>10} payloads in {time.monotonic() - started:.0f} seconds, and no promise broken"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
