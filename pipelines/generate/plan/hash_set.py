"""A set of texts in 16 bytes for each, for a million clip ids."""

from array import array
from hashlib import blake2b

_START_BITS = 12


class HashSet:
    """Texts by their hashes of 64 bits: a text that was added is always found.

    Another text is found by mistake with a probability below 1e-7 for a million texts.
    """

    def __init__(self) -> None:
        self._resize(_START_BITS)

    def __len__(self) -> int:
        return self._count

    def add(self, text: str) -> bool:
        """Add ``text``; False if it is in the set."""
        if not self._add(int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") or 1):
            return False
        if self._count * 2 > len(self._table):
            hashes = self._table
            self._resize(self._bits + 1)
            for value in hashes:
                if value:
                    self._add(value)
        return True

    def _resize(self, bits: int) -> None:
        self._bits, self._count = bits, 0
        self._table = array("Q", bytes(8 << bits))

    def _add(self, value: int) -> bool:
        """Linear probing; 0 marks a free place."""
        table, mask = self._table, len(self._table) - 1
        place = value & mask
        while (found := table[place]) != value:
            if not found:
                table[place] = value
                self._count += 1
                return True
            place = (place + 1) & mask
        return False
