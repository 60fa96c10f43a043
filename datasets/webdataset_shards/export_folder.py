"""The folder of exported shards: only one that is empty or an earlier export is written to."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import make_folder, sha256_file
from driveforge.datasets.files.atomic_folder import is_absent_or_empty
from driveforge.datasets.webdataset_shards.index import INDEX_FILE, SHARD_NAME, read_index

# In a folder whose first export is not complete, and so has no index.
UNFINISHED_MARKER = ".driveforge-export"


@contextmanager
def export_folder(out: Path) -> Iterator[None]:
    """Write an export to ``out`` in the block, with the index last; then shards of older exports are removed.

    Raises UserError if ``out`` is neither empty nor an earlier export.
    """
    if is_absent_or_empty(out):
        make_folder(out)
        (out / UNFINISHED_MARKER).touch()
    _require_export(out)
    yield
    (out / UNFINISHED_MARKER).unlink(missing_ok=True)
    _remove_stale(out)


def _require_export(out: Path) -> None:
    if out.is_dir() and (out / UNFINISHED_MARKER).exists():
        return
    if out.is_dir() and (out / INDEX_FILE).exists():
        try:
            read_index(out)
        except UserError as error:
            raise UserError(f"{out} holds no export and is not replaced; move it away ({error})") from None
        return
    raise UserError(f"{out} exists, is not an earlier export, and is not replaced; move it away")


def _remove_stale(out: Path) -> None:
    """Remove shards that the index does not list: named like shards, with their own hash in the name."""
    listed = {shard.name for shard in read_index(out).shards}
    for tar in sorted(out.glob("*.tar")):
        named = SHARD_NAME.fullmatch(tar.name)
        if named and tar.name not in listed and sha256_file(tar).startswith(named["digest"]):
            tar.unlink()
