"""Seeded damage to files: what disks, copies, editors, converters and other programs do to them."""

import copy
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.faults.outcomes import kind_of

ContentChange = Callable[[bytes, random.Random], bytes]
FileChange = Callable[[Path, random.Random], str]


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


_DEEP = "[" * 5000 + "]" * 5000
# JSON values as text, because the json module cannot write all of them.
_VALUES = (
    "null", "true", "0", "-1", "1.5", "1e999", "-1e999", "NaN", "9" * 400, "9" * 5000, '""', '"x"',
    json.dumps("x" * 5000),
    '"\\ud800"', '"\\u0000"', '"../../etc/passwd"', '"[red]"', "[]", "{}", '["a"]', '{"a": 1}', "[[1, 2], [3]]",
    json.dumps(_nested(80)), json.dumps(_nested(900)), _DEEP, "1e-320", "-0.0", "2147483648",
)  # fmt: skip
_DOCUMENTS = (_DEEP, "{}", "[]", "null", "7", '"x"', "\ufeff{}", "[blue]{", '{"a": NaN}', "<html>")
_MARK = "\x01value\x01"


def damage_content(content: bytes, name: str, rng: random.Random) -> tuple[bytes, str]:
    """``content`` of the file ``name`` after one random change, and what was changed."""
    changes = [*_BYTE_CHANGES, *(3 * list(_JSON_CHANGES) if name.endswith("json") else ())]
    while True:
        change = rng.choice(changes)
        damaged = change(content, rng)
        if damaged != content:
            return damaged, change.__name__.strip("_")


def damage_file_below(folder: Path, rng: random.Random, excluded: tuple[str, ...] = ()) -> tuple[str, str]:
    """Damage one random file below ``folder``; returns the kind of file, and the file with what was changed.

    Locks, and files whose names end with one of ``excluded``, are not changed.
    """
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith((".lock", *excluded))]
    path = rng.choice(sorted(files))
    changes: list[FileChange] = [_change_content] * 6 + [_remove, _replace_by_folder]
    if path.suffix == ".safetensors":
        changes += [_change_tensor] * 4
    return kind_of(path), f"{path.relative_to(folder)}: {rng.choice(changes)(path, rng)}"


def fresh_copy(folder: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(folder, target))


def _change_content(path: Path, rng: random.Random) -> str:
    damaged, change = damage_content(path.read_bytes(), path.name, rng)
    path.write_bytes(damaged)
    return change


def _remove(path: Path, rng: random.Random) -> str:
    path.unlink()
    return "removed"


def _replace_by_folder(path: Path, rng: random.Random) -> str:
    path.unlink()
    path.mkdir()
    return "replaced by a folder"


def _change_tensor(path: Path, rng: random.Random) -> str:
    tensors = load_file(path)
    name = rng.choice(sorted(tensors))
    value = tensors[name]
    change = rng.choice(("missing", "extra", "NaN", "infinite", "reshaped", "integers", "empty"))
    if change == "missing":
        del tensors[name]
    elif change == "extra":
        tensors[f"{name}.copy"] = value.clone()
    elif change == "reshaped":
        tensors[name] = torch.cat([value.reshape(-1), value.reshape(-1)])
    elif change == "integers":
        tensors[name] = torch.zeros(value.shape, dtype=torch.int64)
    elif change == "empty":
        tensors[name] = value.new_zeros((0, *value.shape[1:]))
    elif value.is_floating_point():
        value.view(-1)[rng.randrange(value.numel())] = float("nan" if change == "NaN" else "-inf")
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    return f"tensor {name} {change}"


def _truncated(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _emptied(content: bytes, rng: random.Random) -> bytes:
    return b""


def _zeroed(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    stop = min(len(content), start + rng.choice((1, 16, 512, 4096)))
    return content[:start] + bytes(stop - start) + content[stop:]


def _zeroed_to_the_end(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + bytes(len(content) - start)


def _bit_flipped(content: bytes, rng: random.Random) -> bytes:
    if not content:
        return content
    # Half of the flips are in the first bytes, because headers are short and matter most.
    at = rng.randrange(rng.choice((min(512, len(content)), len(content))))
    return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]


def _garbled(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + rng.randbytes(rng.choice((1, 8, 200))) + content[start + rng.choice((0, 8)) :]


def _appended(content: bytes, rng: random.Random) -> bytes:
    return content + rng.randbytes(rng.choice((1, 100)))


def _repeated(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    stop = min(len(content), start + rng.choice((3, 60, 1000)))
    return content[:stop] + content[start:stop] + content[stop:]


def _prefixed(content: bytes, rng: random.Random) -> bytes:
    """With the magic bytes of another file format in front."""
    heads = (b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"\x1f\x8b\x08", b"<html>", b"\xff\xfe[]", b"\x80\x04.")
    return rng.choice(heads) + content


def _replaced_by_text(content: bytes, rng: random.Random) -> bytes:
    return rng.choice(_DOCUMENTS).encode()


def _value_replaced(content: bytes, rng: random.Random) -> bytes:
    return _edit_json(content, rng, lambda container, key: container.__setitem__(key, _MARK)).replace(
        json.dumps(_MARK).encode(), rng.choice(_VALUES).encode()
    )


def _value_changed(content: bytes, rng: random.Random) -> bytes:
    """With one number, or string, changed slightly or strongly."""

    def change(container: Any, key: Any) -> None:
        value = container[key]
        if type(value) in (int, float):
            container[key] = value * rng.choice((-1, 1.01, 2, 1000, 1e12)) + rng.choice((0, 1))
        elif isinstance(value, str):
            container[key] = value[::-1] + "-"

    return _edit_json(content, rng, change)


def _key_removed(content: bytes, rng: random.Random) -> bytes:
    return _edit_json(content, rng, lambda container, key: container.pop(key))


def _key_renamed(content: bytes, rng: random.Random) -> bytes:
    def change(container: Any, key: Any) -> None:
        if isinstance(container, dict):
            container[f"{key}x"] = container.pop(key)

    return _edit_json(content, rng, change)


def _key_added(content: bytes, rng: random.Random) -> bytes:
    def change(container: Any, key: Any) -> None:
        if isinstance(container, dict):
            container["k" * rng.choice((3, 3000))] = 1
        else:
            container.insert(rng.randrange(len(container) + 1), copy.deepcopy(rng.choice(container)))

    return _edit_json(content, rng, change)


def _values_swapped(content: bytes, rng: random.Random) -> bytes:
    def change(container: Any, key: Any) -> None:
        other = rng.choice(list(container) if isinstance(container, dict) else range(len(container)))
        container[key], container[other] = container[other], container[key]

    return _edit_json(content, rng, change)


def _key_duplicated(content: bytes, rng: random.Random) -> bytes:
    return content.replace(b'{"', b'{"token": "a", "name": 7, "', 1).replace(b'{"', b'{"token": "b", "', 1)


def _edit_json(content: bytes, rng: random.Random, change: Callable[[Any, Any], object]) -> bytes:
    """Apply ``change`` to one random (container, key) of a JSON document."""
    document = json.loads(content)
    places = list(_places(document))
    if places:
        change(*rng.choice(places))
    return json.dumps(document).encode()


def _places(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """Yield every (container, key) of a document; only the first two of deeply nested containers."""
    keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
    for key in keys if depth < 3 else keys[:2]:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key], depth + 1)


_BYTE_CHANGES: tuple[ContentChange, ...] = (
    _truncated, _emptied, _zeroed, _zeroed_to_the_end, _bit_flipped, _bit_flipped, _garbled, _appended, _repeated,
    _prefixed, _replaced_by_text,
)  # fmt: skip
_JSON_CHANGES: tuple[ContentChange, ...] = (
    _value_replaced, _value_replaced, _value_changed, _key_removed, _key_renamed, _key_added, _values_swapped,
    _key_duplicated,
)  # fmt: skip
