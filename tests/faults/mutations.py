"""Seeded damage to a file: in its bytes, or in what its JSON says."""

import json
import random
from typing import Any

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 10**30, float("inf"), float("nan")),
    *("", "x" * 5000, "[red]{}%s\n", "../x"),
    *([], {}, [None], {"a": 1}),
)


def mutated(content: bytes, rng: random.Random, is_json: bool) -> bytes:
    """``content`` with one thing wrong, which never is ``content`` itself."""
    while True:
        damage = rng.choice(JSON_DAMAGES if is_json and rng.random() < 0.7 else BYTE_DAMAGES)
        if (other := damage(content, rng)) != content:
            return other


def flipped_bit(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :]


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def cut_and_padded(content: bytes, rng: random.Random) -> bytes:
    return cut(content, rng).ljust(len(content), b"\0")


def zeroed_stretch(content: bytes, rng: random.Random) -> bytes:
    place, length = rng.randrange(len(content)), rng.randrange(1, 600)
    return content[:place] + bytes(len(content[place : place + length])) + content[place + length :]


def moved_stretch(content: bytes, rng: random.Random) -> bytes:
    start, length, target = rng.randrange(len(content)), rng.randrange(1, 600), rng.randrange(len(content))
    stretch = content[start : start + length]
    rest = content[:start] + content[start + length :]
    return rest[:target] + stretch + rest[target:]


def longer(content: bytes, rng: random.Random) -> bytes:
    return content + rng.randbytes(rng.randrange(1, 2000))


def other_digit(content: bytes, rng: random.Random) -> bytes:
    digits = [place for place, byte in enumerate(content) if 48 <= byte <= 57]
    if not digits:
        return content
    place = rng.choice(digits)
    return content[:place] + str(rng.randrange(10)).encode() + content[place + 1 :]


def odd_value(content: bytes, rng: random.Random) -> bytes:
    record = json.loads(content)
    holder, key = rng.choice(_places(record))
    holder[key] = rng.choice(ODD_VALUES)
    return json.dumps(record).encode()


def missing_key(content: bytes, rng: random.Random) -> bytes:
    record = json.loads(content)
    holder, key = rng.choice(_places(record))
    del holder[key]
    return json.dumps(record).encode()


def unknown_key(content: bytes, rng: random.Random) -> bytes:
    record = json.loads(content)
    holders = [holder for holder, _ in _places(record) if isinstance(holder, dict)]
    rng.choice(holders)["surprise"] = rng.choice(ODD_VALUES)
    return json.dumps(record).encode()


def nested(content: bytes, rng: random.Random) -> bytes:
    deep = rng.choice((b"[", b'{"a":')) * rng.choice((50, 1000, 100_000))
    return deep + content


def repeated_key(content: bytes, rng: random.Random) -> bytes:
    record = json.loads(content)
    key = rng.choice(list(record))
    return json.dumps(record).encode()[:-1] + f", {json.dumps(key)}: {json.dumps(rng.choice(ODD_VALUES))}}}".encode()


def other_encoding(content: bytes, rng: random.Random) -> bytes:
    return content.decode().encode(rng.choice(("utf-16", "utf-32"))) + b"\xff"


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key or index) inside parsed JSON."""
    if isinstance(value, dict):
        return [place for key, item in value.items() for place in [(value, key), *_places(item)]]
    if isinstance(value, list):
        return [place for number, item in enumerate(value) for place in [(value, number), *_places(item)]]
    return []


BYTE_DAMAGES = (flipped_bit, cut, cut_and_padded, zeroed_stretch, moved_stretch, longer, other_digit)
JSON_DAMAGES = (odd_value, odd_value, missing_key, unknown_key, nested, repeated_key, other_encoding)
