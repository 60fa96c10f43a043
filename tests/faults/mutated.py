"""One seeded change to one file of a folder: what disks, copies, editors and other programs do to files."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.faults.outcomes import kind_of

_DEEP = "[" * 5000 + "]" * 5000
_ODD: tuple[Any, ...] = (None, True, -1, 0, 3.5, 10**30, "x", "", [], {}, [[]], float("nan"), float("inf"), ["../x"])


def mutate(folder: Path, rng: random.Random, spared: tuple[str, ...] = ()) -> tuple[str, str]:
    """Change one file below ``folder``, none that ends as ``spared`` says; the kind of file, and what was done."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith((".lock", *spared)))
    path = rng.choice(files)
    ways = [_cut, _padded, _flipped, _zeroed, _emptied, _removed, _made_a_folder, _other_text]
    if path.suffix == ".json":
        ways += [_other_value] * 6
    if path.suffix == ".safetensors":
        ways += [_other_tensor] * 4
    way = rng.choice(ways)
    return kind_of(path), f"{path.relative_to(folder)}: {way.__name__.strip('_')} {way(path, rng)}"


def _cut(path: Path, rng: random.Random) -> str:
    size = rng.randrange(path.stat().st_size or 1)
    path.write_bytes(path.read_bytes()[:size])
    return f"to {size} bytes"


def _padded(path: Path, rng: random.Random) -> str:
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.choice((1, 100))))
    return ""


def _flipped(path: Path, rng: random.Random) -> str:
    content = bytearray(path.read_bytes() or b"\0")
    # Headers are short and matter most.
    place = rng.randrange(rng.choice((min(512, len(content)), len(content))))
    content[place] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return f"in byte {place}"


def _zeroed(path: Path, rng: random.Random) -> str:
    content = bytearray(path.read_bytes())
    start = rng.randrange(len(content) or 1)
    length = min(rng.choice((1, 64, 4096)), len(content) - start)
    content[start : start + length] = bytes(length)
    path.write_bytes(content)
    return f"{length} bytes from {start}"


def _emptied(path: Path, rng: random.Random) -> str:
    path.write_bytes(b"")
    return ""


def _removed(path: Path, rng: random.Random) -> str:
    path.unlink()
    return ""


def _made_a_folder(path: Path, rng: random.Random) -> str:
    path.unlink()
    path.mkdir()
    return ""


def _other_text(path: Path, rng: random.Random) -> str:
    text = rng.choice((_DEEP, "{}", "[]", "null", "7", '"x"', "\ufeff{}", "[blue]{", '{"a": NaN}', "<html>"))
    path.write_text(text, encoding="utf-8")
    return text[:10]


def _other_value(path: Path, rng: random.Random) -> str:
    try:
        record = json.loads(path.read_text())
    except ValueError:
        return "not, since it is no JSON"
    places: list[tuple[Any, Any]] = []
    waiting = [record]
    while waiting:
        value = waiting.pop()
        inner = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
        places += [(value, key) for key, _ in inner]
        waiting += [item for _, item in inner]
    if not places:
        return "not, since it is empty"
    owner, key = rng.choice(places)
    if isinstance(owner, dict) and rng.random() < 0.3:
        owner[f"{key}x"] = owner.pop(key)
        told = f"{key} renamed"
    elif rng.random() < 0.2:
        del owner[key]
        told = f"{key} taken out"
    else:
        owner[key] = rng.choice(_ODD)
        told = f"{key} = {owner[key]!r}"
    path.write_text(json.dumps(record))
    return told


def _other_tensor(path: Path, rng: random.Random) -> str:
    try:
        tensors = load_file(path)
    except Exception:
        return "not, since it is torn"
    name = rng.choice(sorted(tensors))
    value = tensors[name]
    way = rng.choice(("missing", "extra", "NaN", "infinite", "misshapen", "whole numbers", "none"))
    if way == "missing":
        del tensors[name]
    elif way == "extra":
        tensors[f"{name}.copy"] = value.clone()
    elif way == "misshapen":
        tensors[name] = torch.cat([value.reshape(-1), value.reshape(-1)])
    elif way == "whole numbers":
        tensors[name] = torch.zeros(value.shape, dtype=torch.int64)
    elif way == "none":
        tensors[name] = value.new_zeros((0, *value.shape[1:]))
    elif value.is_floating_point():
        value.view(-1)[rng.randrange(value.numel())] = float("nan" if way == "NaN" else "-inf")
    save_file({n: t.contiguous() for n, t in tensors.items()}, path)
    return f"{name} {way}"


def copy_of(folder: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(folder, target))
