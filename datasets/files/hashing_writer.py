"""A file that is hashed and synced to disk by another thread while it is written."""

import hashlib
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import IO, Self

# A block that is written, and the amount of unsynced data after which the disk starts to write.
COPY_BYTES, _SYNC_BYTES = 1 << 20, 64 << 20
# Blocks that wait to be hashed are kept in memory.
_MAX_PENDING = 16


class HashingWriter:
    """Writes to ``file``, an empty file opened for writing without other writers.

    The digest is that of the bytes passed to ``write``, not of bytes read back, so that it also reveals a write that
    went wrong. Hashing and syncing release the interpreter lock and run beside the writing.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._digest = file, hashlib.sha256()
        self._pool = ThreadPoolExecutor(1, "hashing")
        self._pending: deque[Future[None]] = deque()
        self._buffer = bytearray()
        self._num_bytes = self._num_unsynced = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def write(self, data: bytes) -> int:
        if len(data) < COPY_BYTES and len(self._buffer) + len(data) < COPY_BYTES:
            self._buffer += data
        else:
            self._flush()
            self._write_block(data)
        self._num_bytes += len(data)
        return len(data)

    def tell(self) -> int:
        return self._num_bytes

    def finish(self) -> tuple[str, int]:
        """Sync the file to disk; returns the sha256 in hex and the number of bytes written."""
        self._flush()
        self._file.flush()
        os.fsync(self._file.fileno())
        while self._pending:
            self._pending.popleft().result()
        return self._digest.hexdigest(), self._num_bytes

    def _flush(self) -> None:
        if self._buffer:
            block, self._buffer = bytes(self._buffer), bytearray()
            self._write_block(block)

    def _write_block(self, block: bytes) -> None:
        self._file.write(block)
        self._num_unsynced += len(block)
        needs_sync = self._num_unsynced >= _SYNC_BYTES
        if needs_sync:
            self._num_unsynced = 0
            self._file.flush()
        if len(self._pending) >= _MAX_PENDING:
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(self._process, block, needs_sync))

    def _process(self, block: bytes, needs_sync: bool) -> None:
        self._digest.update(block)
        if needs_sync:
            os.fdatasync(self._file.fileno())
