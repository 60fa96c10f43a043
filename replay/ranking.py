"""Reservoir sampling that forgets the order of the stream.

Every sample has a priority, a keyed hash of its domain and clip id, and a domain keeps those of lowest priority within
its quota: a uniform random subset of all that was offered (bottom-k sampling, Cohen and Kaplan, PODC 2007; for one pass
over a stream it is the reservoir sampling of Vitter, 1985).
"""

import hashlib
import json
from array import array
from bisect import bisect_left


def priority_of(seed: int, domain: str, clip_id: str) -> int:
    """A number below 2**64 that is as good as random and always the same."""
    identity = json.dumps([seed, domain, clip_id]).encode()
    return int.from_bytes(hashlib.blake2b(identity, digest_size=8).digest(), "big")


class Ranking:
    """The samples of one domain by rising priority, each with its location: 16 bytes a sample."""

    def __init__(self) -> None:
        self.priorities = array("Q")
        self.locations = array("Q")

    def __len__(self) -> int:
        return len(self.priorities)

    def holds(self, priority: int) -> bool:
        at = bisect_left(self.priorities, priority)
        return at < len(self) and self.priorities[at] == priority

    def admit(self, priority: int, location: int, quota: int) -> bool:
        """Takes a sample in, dropping the last beyond the quota; False where it is there already or ranks too low."""
        at = bisect_left(self.priorities, priority)
        if at >= quota or self.holds(priority):
            return False
        self.priorities.insert(at, priority)
        self.locations.insert(at, location)
        self.trim(quota)
        return True

    def append(self, priority: int, location: int) -> None:
        """Takes in the next sample of a sequence that is in order already."""
        self.priorities.append(priority)
        self.locations.append(location)

    def trim(self, quota: int) -> None:
        del self.priorities[quota:], self.locations[quota:]
