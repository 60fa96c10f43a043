"""The store of a folder: the folder itself, or the object store that it is a working copy of."""

from pathlib import Path

from driveforge.datasets.stores.interface import Store
from driveforge.datasets.stores.local import LocalStore
from driveforge.datasets.stores.location import STORE_RECORD
from driveforge.datasets.stores.record import read_store_record
from driveforge.datasets.stores.remote import RemoteStore


def open_store(folder: Path | Store) -> Store:
    """The store whose files belong in ``folder``; a store is returned as it is."""
    if not isinstance(folder, Path):
        return folder
    absolute = folder.absolute()
    for parent in absolute.parents:
        if (parent / STORE_RECORD).is_file():
            url = read_store_record(parent).url
            return RemoteStore(f"{url}/{absolute.relative_to(parent).as_posix()}")
    return LocalStore(folder)


def share(store: Store, name: str) -> bool:
    """Upload the local copy of a file to an object store that lacks it; False if the store's file has other content."""
    if not isinstance(store, RemoteStore):
        return True
    path = store.folder / name
    return store.replace(name, path, None) is not None or store.read(name) == path.read_bytes()
