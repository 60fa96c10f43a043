import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driveforge.datasets.files.hashing_writer import COPY_BYTES, HashingWriter

SIZES = st.one_of(st.integers(0, 3000), st.integers(COPY_BYTES - 2, COPY_BYTES + 2))


@settings(deadline=None, max_examples=30)
@given(sizes=st.lists(SIZES, max_size=8))
def test_the_file_and_its_digest_are_those_of_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    path = tmp_path_factory.getbasetemp() / "hashed"
    blocks = [bytes([n % 251]) * size for n, size in enumerate(sizes)]
    with open(path, "wb") as file, HashingWriter(file) as writer:
        for block in blocks:
            writer.write(block)
        assert writer.tell() == sum(sizes)
        sha256, num_bytes = writer.finish()
    assert path.read_bytes() == b"".join(blocks) and num_bytes == sum(sizes)
    assert sha256 == hashlib.sha256(b"".join(blocks)).hexdigest()


def test_a_file_above_the_sync_limit_is_whole(tmp_path: Path) -> None:
    blocks = [bytes([n]) * (3 * COPY_BYTES) for n in range(24)]
    with open(tmp_path / "large", "wb") as file, HashingWriter(file) as writer:
        for block in blocks:
            writer.write(block)
        sha256, _ = writer.finish()
    assert sha256 == hashlib.sha256((tmp_path / "large").read_bytes()).hexdigest()
    assert (tmp_path / "large").stat().st_size == 72 * COPY_BYTES


def test_an_error_while_writing_ends_the_thread(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), open(tmp_path / "f", "wb") as file, HashingWriter(file) as writer:
        writer.write(bytes(COPY_BYTES))
        raise ZeroDivisionError
