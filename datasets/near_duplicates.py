"""Near-duplicate frames: a perceptual hash of 256 bits, and the number of bits in which two hashes differ.

The hash is that of PDQ (Facebook, "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm", 2019)
with an area filter in place of its two box filters, so its bits are not those of the PDQ library. Two images with at
most ``MATCH_BITS`` different bits are near-duplicates there.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint8]
"""``(N, 32)``, one hash of 256 bits per row."""

MATCH_BITS = 31
HASH_BYTES = 32
_SIDE, _FREQUENCIES = 64, 16
_ROWS_AT_ONCE = 1 << 16  # bounds the memory of a comparison
# The number of set bits of every 16-bit word.
_SET_BITS = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(-1, 2), axis=1).sum(1, np.uint8)


@dataclass(frozen=True, kw_only=True, slots=True)
class Nearest:
    """The most similar of some reference frames: its row, and the number of bits that differ, 0 to 256."""

    row: int
    bits: int

    @property
    def is_near_duplicate(self) -> bool:
        return self.bits <= MATCH_BITS


def hash_frames(frames: NDArray[np.uint8]) -> Hashes:
    """The hashes of ``frames`` ``(T, H, W, 3)`` uint8 RGB.

    The bits say which of the 16 x 16 lowest frequencies of the luminance, without the constant ones, are above their
    median. Brightness and contrast change none of them, and a mirror image is another image.
    """
    return np.stack([_hash(frame) for frame in frames])


def find_nearest(frames: Hashes, references: Hashes) -> list[Nearest]:
    """For each of ``frames``, the nearest of ``references`` (one at least); of equal ones the first."""
    return [_find_nearest(frame, references) for frame in frames]


def _hash(frame: NDArray[np.uint8]) -> Hashes:
    gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    small = cv2.resize(gray, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    # Row and column 0 are left out: they hold the mean and plain gradients, such as a bright sky above a dark road,
    # which most road scenes share.
    low = np.asarray(cv2.dct(small))[1 : _FREQUENCIES + 1, 1 : _FREQUENCIES + 1]
    return np.packbits(low > np.median(low))


def _find_nearest(frame: Hashes, references: Hashes) -> Nearest:
    row, bits = min(_local_minima(frame, references), key=lambda found: found[1])
    return Nearest(row=row, bits=bits)


def _local_minima(frame: Hashes, references: Hashes) -> Iterator[tuple[int, int]]:
    for start in range(0, len(references), _ROWS_AT_ONCE):
        changed = np.ascontiguousarray(frame ^ references[start : start + _ROWS_AT_ONCE])
        different = _SET_BITS[changed.view(np.uint16)].sum(1, dtype=np.int64)
        row = int(different.argmin())
        yield start + row, int(different[row])
