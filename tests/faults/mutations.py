"""Seeded damage: what disks, editors, converters and other tools do to files, told by a number."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


# Values that a key of JSON may be given, as text: json cannot write all of them.
_VALUES = (
    "null", "true", "0", "-1", "1.5", "1e999", "-1e999", "NaN", "9" * 400, "9" * 5000, '""', '"x"',
    json.dumps("x" * 5000),
    '"\\ud800"', '"\\u0000"', '"../../etc/passwd"', '"[red]"', "[]", "{}", '["a"]', '{"a": 1}', "[[1, 2], [3]]",
    json.dumps(_nested(80)), json.dumps(_nested(900)), "[" * 5000 + "]" * 5000, "1e-320", "-0.0", "2147483648",
)  # fmt: skip
_MARK = "\x01value\x01"

Change = Callable[[bytes, random.Random], bytes]


def mutated(content: bytes, name: str, rng: random.Random) -> tuple[bytes, str]:
    """``content`` of the file ``name`` after one random damage, and the name of the damage."""
    changes = [*_OF_BYTES, *(3 * list(_OF_JSON) if name.endswith("json") else ())]
    while True:
        change = rng.choice(changes)
        damaged = change(content, rng)
        if damaged != content:
            return damaged, change.__name__.strip("_")


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _emptied(content: bytes, rng: random.Random) -> bytes:
    return b""


def _zeroed(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    stop = min(len(content), start + rng.choice((1, 16, 512, 4096)))
    return content[:start] + bytes(stop - start) + content[stop:]


def _cut_and_padded(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + bytes(len(content) - start)


def _flipped(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(max(1, len(content)))
    return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :] if content else content


def _garbled(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + rng.randbytes(rng.choice((1, 8, 200))) + content[start + rng.choice((0, 8)) :]


def _repeated(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    stop = min(len(content), start + rng.choice((3, 60, 1000)))
    return content[:stop] + content[start:stop] + content[stop:]


def _foreign(content: bytes, rng: random.Random) -> bytes:
    heads = (b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"\x1f\x8b\x08", b"<html>", b"\xff\xfe[]", b"\x80\x04.")
    return rng.choice(heads) + content


def _value(content: bytes, rng: random.Random) -> bytes:
    """Something else under one key."""
    return _edited(content, rng, lambda holder, key: holder.__setitem__(key, _MARK)).replace(
        json.dumps(_MARK).encode(), rng.choice(_VALUES).encode()
    )


def _number(content: bytes, rng: random.Random) -> bytes:
    """One number, or text, a little or much off."""

    def change(holder: Any, key: Any) -> None:
        value = holder[key]
        if type(value) in (int, float):
            holder[key] = value * rng.choice((-1, 1.01, 2, 1000, 1e12)) + rng.choice((0, 1))
        elif isinstance(value, str):
            holder[key] = value[::-1] + "-"

    return _edited(content, rng, change)


def _missing(content: bytes, rng: random.Random) -> bytes:
    return _edited(content, rng, lambda holder, key: holder.pop(key))


def _unknown(content: bytes, rng: random.Random) -> bytes:
    def change(holder: Any, key: Any) -> None:
        if isinstance(holder, dict):
            holder["k" * rng.choice((3, 3000))] = 1
        else:
            holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(rng.choice(holder)))

    return _edited(content, rng, change)


def _shuffled(content: bytes, rng: random.Random) -> bytes:
    def change(holder: Any, key: Any) -> None:
        other = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        holder[key], holder[other] = holder[other], holder[key]

    return _edited(content, rng, change)


def _twice(content: bytes, rng: random.Random) -> bytes:
    """A key that is there twice in one object."""
    return content.replace(b'{"', b'{"token": "a", "name": 7, "', 1).replace(b'{"', b'{"token": "b", "', 1)


def _edited(content: bytes, rng: random.Random, change: Callable[[Any, Any], object]) -> bytes:
    document = json.loads(content)
    places = list(_places(document))
    if places:
        change(*rng.choice(places))
    return json.dumps(document).encode()


def _places(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a document; of long lists of numbers a few."""
    keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
    for key in keys if depth < 3 else keys[:2]:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key], depth + 1)


_OF_BYTES: tuple[Change, ...] = (
    _cut, _emptied, _zeroed, _cut_and_padded, _flipped, _flipped, _garbled, _repeated, _foreign,
)  # fmt: skip
_OF_JSON: tuple[Change, ...] = (_value, _value, _number, _missing, _unknown, _shuffled, _twice)
