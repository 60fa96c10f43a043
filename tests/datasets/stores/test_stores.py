"""Stores in a local folder and in an object store, which behave in the same way."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.stores.interface import Store
from driveforge.datasets.stores.local import LocalStore
from driveforge.datasets.stores.remote import RemoteStore


@pytest.fixture(params=["store_url", "azure_url"], ids=["s3", "azure"])
def remote(request: pytest.FixtureRequest) -> RemoteStore:
    return RemoteStore(request.getfixturevalue(request.param))


@pytest.fixture(params=["local", "store_url", "azure_url"], ids=["local", "s3", "azure"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return LocalStore(tmp_path / "root")
    return RemoteStore(request.getfixturevalue(request.param))


def names(store: Store, folder: str = "") -> list[str]:
    return sorted(file.name for file in store.files(folder))


def test_files_are_written_read_listed_and_deleted(store: Store) -> None:
    assert names(store) == names(store, "below") == []
    store.write("a.json", b"first")
    store.write("a.json", b"second")
    store.write("below/b.json", b"b")
    assert store.read("a.json") == b"second" and store.exists("a.json") and not store.exists("c.json")
    assert (names(store), names(store, "below")) == (["a.json"], ["b.json"])
    assert [file.num_bytes for file in store.files()] == [6]
    assert list(store.read_all(["below/b.json", "a.json"])) == [b"b", b"second"]
    store.delete(["a.json", "missing.json"])
    assert names(store) == []
    with pytest.raises(UserError, match=r"a\.json: cannot be read"):
        store.read("a.json")


def test_of_concurrent_creators_one_succeeds(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: store.create("below/x.json", b"%d" % i), range(8)))
    assert won.count(True) == 1 and store.read("below/x.json") == b"%d" % won.index(True)


def test_a_staged_file_is_published_as_a_whole(store: Store, tmp_path: Path) -> None:
    content = bytes(range(256)) * 40_000  # several parts of a multipart upload
    (tmp_path / "scratch").write_bytes(content)
    with store.stage(tmp_path / "scratch") as staged:
        assert staged.path.read_bytes() == content and names(store) == []
        staged.publish("a.tar")
    assert store.fetch("a.tar").read_bytes() == content
    with pytest.raises(ZeroDivisionError), store.stage(tmp_path / "scratch"):
        raise ZeroDivisionError
    assert names(store) == ["a.tar"]


def test_scratch_files_are_gone_after_the_block(store: Store) -> None:
    with store.scratch("u-1") as path:
        path.write_bytes(b"some")
        assert path.read_bytes() == b"some"
    assert not path.exists() and names(store) == []


def test_a_fetched_copy_is_kept_until_it_is_fetched_again(remote: RemoteStore) -> None:
    store = remote
    assert not store.fetch("a").exists()
    store.write("a", b"1")
    path = store.fetch("a")
    store.write("a", b"2")
    assert store.fetch("a").read_bytes() == b"1"
    assert store.fetch("a", again=True) == path and path.read_bytes() == b"2"
    store.delete(["a"])
    assert not path.exists()


def test_a_replacement_with_an_old_version_is_refused(remote: RemoteStore, tmp_path: Path) -> None:
    store, file = remote, tmp_path / "file"
    file.write_bytes(b"1")
    first = store.replace("a", file, None)
    assert first and store.replace("a", file, None) is None, "it exists"
    file.write_bytes(b"2")
    assert store.replace("a", file, first)
    file.write_bytes(b"3")
    assert store.replace("a", file, first) is None and store.read("a") == b"2"


def test_a_store_is_sent_to_workers(store: Store) -> None:
    store.write("a", b"1")
    assert pickle.loads(pickle.dumps(store)).read("a") == b"1"
