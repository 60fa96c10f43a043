"""Loading the parts of a saved model: only from safetensors, and only if all files are consistent.

A configuration must have the arguments of the part's class. Tensors must have the names and shapes of a part with that
configuration, and be finite. Files are checked against ``SHA256SUMS`` if the model has one.
"""

import errno
import inspect
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, field, make_dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import torch
from diffusers import ModelMixin
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError, safe_open
from torch import Tensor

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.atomic import sha256_file, sync_folder
from driveforge.datasets.files.atomic_folder import SCRATCH_MARKER
from driveforge.datasets.files.json_record import read_json, validate_record

CHECKSUMS_FILE = "SHA256SUMS"
PART_CONFIG_FILE, PART_WEIGHTS_FILE = "config.json", "diffusion_pytorch_model.safetensors"
_INDEX_FILE = f"{PART_WEIGHTS_FILE}.index.json"
ADVICE = "give a model that driveforge saved"
# Far above the sizes of released checkpoints; a larger number is an error in the file.
MAX_SIZE = 2**17

Part = TypeVar("Part", bound=ModelMixin)
# Its bars of shards would interrupt those of the commands.
diffusers_logging.disable_progress_bar()


def load_part(part_class: type[Part], folder: Path, dtype: torch.dtype = torch.float32) -> Part:
    """The part saved in ``folder``, as ``dtype``. Raises UserError, with the file, if anything in it is wrong.

    Weights may be in one file or in shards; parameters that diffusers keeps in float32 stay so.
    """
    config = read_part_config(part_class, folder)
    files = _weight_files(folder)
    found = {name: shape for path in files for name, shape in read_shapes(path).items()}
    _require_layers(folder / PART_CONFIG_FILE, config, len(found))
    try:
        # On the meta device a part takes no memory, however large its configuration says it is.
        with torch.device("meta"):
            meta_part = part_class(**config)
        expected = {name: tuple(value.shape) for name, value in meta_part.state_dict().items()}
    except Exception as error:
        raise UserError(
            f"{folder / PART_CONFIG_FILE}: describes no {part_class.__name__} ({shorten(error, 100)}); {ADVICE}"
        ) from error
    require_shapes(files[0], found, expected)
    try:
        part: Part = part_class.from_pretrained(folder, torch_dtype=dtype, use_safetensors=True, local_files_only=True)
    except Exception as error:
        raise UserError(
            f"{folder}: cannot be read as {part_class.__name__} ({shorten(error, 100)}); {ADVICE}"
        ) from error
    require_finite(files[0], part.state_dict())
    return part


def save_part(part: ModelMixin, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Save a part as safetensors, as ``dtype`` or as it is; large weights are sharded.

    The same weights give the same bytes, wherever the part was loaded from.
    """
    if dtype is None:
        with safetensors_errors_as_os_errors(folder):
            part.save_pretrained(folder)
        path = folder / PART_CONFIG_FILE
        config = {key: value for key, value in json.loads(path.read_text()).items() if key != "_name_or_path"}
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        return
    copy = type(part).from_config({key: value for key, value in part.config.items() if key != "_name_or_path"})
    copy.load_state_dict(part.state_dict())
    for parameter in copy.parameters():  # diffusers' own .to() would keep some of them in float32
        parameter.data = parameter.data.to(dtype)
    with safetensors_errors_as_os_errors(folder):
        copy.save_pretrained(folder)


def load_tensors(path: Path, expected: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The tensors of ``path`` as float32. Raises UserError unless their names and shapes are exactly ``expected``."""
    require_shapes(path, read_shapes(path), expected)
    with _open_safetensors(path) as file:
        tensors = {name: file.get_tensor(name).float() for name in expected}
    require_finite(path, tensors)
    return tensors


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a safetensors file, from its header. Raises UserError if one is not floating-point."""
    with _open_safetensors(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        if other := [name for name, value in slices.items() if not re.fullmatch(r"B?F\d+", value.get_dtype())]:
            raise UserError(f"{path}: {shorten(other[0])} must hold floating-point numbers; {ADVICE}")
        return {name: tuple(value.get_shape()) for name, value in slices.items()}


def require_shapes(path: Path, found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> None:
    if missing := sorted(expected.keys() - found.keys()):
        raise UserError(f"{path}: {len(missing)} tensors are missing, the first is {missing[0]}; {ADVICE}")
    if extra := sorted(found.keys() - expected.keys()):
        raise UserError(
            f"{path}: {len(extra)} tensors are not part of such a model, the first is {shorten(extra[0])}; {ADVICE}"
        )
    for name, shape in expected.items():
        if found[name] != shape:
            raise UserError(f"{path}: {name} must have shape {shape}, got {shorten(found[name])}; {ADVICE}")


def require_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise UserError(f"{path}: {name} holds NaN or infinite values; {ADVICE}")


def require_equal(path: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raises UserError, with the key, if the configuration ``found`` at ``path`` differs from ``expected``."""
    for key, value in expected.items():
        has = tuple(found[key]) if isinstance(found[key], list) else found[key]
        if has != value:
            raise UserError(f"{path}: {key} must be {value} to fit the other parts, got {shorten(has)}; {ADVICE}")


@contextmanager
def safetensors_errors_as_os_errors(folder: Path) -> Iterator[None]:
    """Errors of safetensors while writing below ``folder`` become OSErrors, as other libraries raise them."""
    try:
        yield
    except SafetensorError as error:
        raise OSError(errno.EIO, shorten(error, 120), str(folder)) from error


def write_checksums(folder: Path) -> None:
    """Write ``SHA256SUMS``, which ``sha256sum -c`` reads, of all files below ``folder``, and sync them to disk."""
    # The marker of an unfinished folder is removed when the folder is complete.
    others = (CHECKSUMS_FILE, SCRATCH_MARKER)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in others)
    sums = [f"{sha256_file(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / CHECKSUMS_FILE).write_text("".join(sums), encoding="utf-8")
    for path in [*files, folder / CHECKSUMS_FILE]:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    for inner in sorted({path.parent for path in files} | {folder}):
        sync_folder(inner)


def verify_checksums(folder: Path, read: Iterable[str]) -> None:
    """Raises UserError if one of the files to be ``read`` does not match ``SHA256SUMS``. Skipped if there is none."""
    path = folder / CHECKSUMS_FILE
    if not path.is_file():
        return
    sums = _read_checksums(path)
    for name in read:
        if not (folder / name).is_file():
            continue  # its reader reports that
        if name not in sums:
            raise UserError(f"{folder / name}: is not listed in {CHECKSUMS_FILE}; {ADVICE}")
        if sha256_file(folder / name) != sums[name]:
            raise UserError(f"{folder / name}: differs from {CHECKSUMS_FILE}; use an intact copy of the model")


def list_part_files(folder: Path, part: str) -> list[str]:
    """Names, relative to the model's ``folder``, of the files of a part that ``load_part`` may read."""
    return [
        f"{part}/{path.name}" for path in sorted((folder / part).glob("*")) if path.suffix in (".json", ".safetensors")
    ]


@cache
def _signature_record(part_class: Callable[..., ModelMixin]) -> Any:
    """A dataclass with the arguments of ``part_class``, their types and defaults."""
    hints = get_type_hints(vars(part_class)["__init__"])
    arguments = [
        value for name, value in inspect.signature(vars(part_class)["__init__"]).parameters.items() if name != "self"
    ]
    return make_dataclass(
        part_class.__name__,
        [(a.name, hints[a.name], field(default_factory=partial(copy, a.default))) for a in arguments],
        frozen=True,
        kw_only=True,
    )


def read_part_config(part_class: type[ModelMixin], folder: Path) -> dict[str, Any]:
    """The arguments of a part saved in ``folder``, checked. Raises UserError, with the key, if one is wrong."""
    path = folder / PART_CONFIG_FILE
    found = read_json(path, ADVICE)
    if not isinstance(found, dict) or found.get("_class_name") != part_class.__name__:
        named = found.get("_class_name") if isinstance(found, dict) else type(found).__name__
        raise UserError(f"{path}: must describe a {part_class.__name__}, got {shorten(named)}; {ADVICE}")
    record: Any = _signature_record(part_class)  # type: ignore[arg-type]
    # Other keys are metadata of diffusers, or arguments that another version of it has; diffusers ignores them too.
    plain = {key: value for key, value in found.items() if key in record.__dataclass_fields__}
    config = asdict(validate_record(plain, record, str(path), ADVICE))
    for key, value in config.items():
        for size in value if isinstance(value, list | tuple) else [value]:
            if type(size) is int and not 0 <= size <= MAX_SIZE:
                raise UserError(f"{path}: {key} must be 0 to {MAX_SIZE}, got {shorten(size)}; {ADVICE}")
    return config


def _require_layers(path: Path, config: Mapping[str, Any], num_tensors: int) -> None:
    # A layer has at least one tensor. Checked first, because even on the meta device many layers take long to build.
    for key in ("num_layers", "num_res_blocks"):
        if config.get(key, 0) > num_tensors:
            raise UserError(f"{path}: {key} is {config[key]}, but the weights are of fewer; {ADVICE}")


def _weight_files(folder: Path) -> list[Path]:
    """The weight file, or the files of the index of sharded weights; only files in ``folder`` itself."""
    if not (folder / _INDEX_FILE).exists():
        return [folder / PART_WEIGHTS_FILE]
    index = read_json(folder / _INDEX_FILE, ADVICE)
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    names = (
        set(weight_map.values())
        if isinstance(weight_map, dict) and all(isinstance(v, str) for v in weight_map.values())
        else set()
    )
    if not names or any(Path(name).name != name or not name.endswith(".safetensors") for name in names):
        raise UserError(f"{folder / _INDEX_FILE}: must map tensors to safetensors files of its folder; {ADVICE}")
    return [folder / name for name in sorted(names)]


def _open_safetensors(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except FileNotFoundError:
        raise UserError(f"{path}: is missing, so the model is incomplete; {ADVICE}") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({shorten(error, 100)}); {ADVICE}") from None


def _read_checksums(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        lines = [""]
    found = [re.fullmatch(r"([0-9a-f]{64})  (.+)", line) for line in lines]
    if not lines or not all(found):
        raise UserError(f"{path}: is not a list of sha256 sums; use an intact copy of the model")
    return {match[2]: match[1] for match in found if match}
