"""What a scene is like: its speed, turn rate and number of agents, in bins."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from driveforge.datasets.ego_motion import ego_motion
from driveforge.datasets.scene import Scene

# The upper edges of all bins but the last.
BINS: Mapping[str, tuple[float, ...]] = {
    "speed": (0.5, 5.0, 10.0, 15.0, 20.0),
    "turn-rate": (-10.0, -3.0, 3.0, 10.0),
    "agents": (1.0, 4.0, 8.0, 16.0),
}
UNITS = {"speed": "m/s", "turn-rate": "deg/s, positive is left", "agents": "per frame"}
UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """Means over the frames of a scene: speed, m/s; turn rate, deg/s, positive to the left; agents per frame.

    NaN if there is no ego pose.
    """

    speed: float
    turn_rate: float
    agents: float

    def bin_of(self, trait: str) -> int:
        """The bin of ``BINS[trait]`` that the scene is in; -1 if it is not known."""
        value = {"speed": self.speed, "turn-rate": self.turn_rate, "agents": self.agents}[trait]
        return -1 if np.isnan(value) else int(np.searchsorted(BINS[trait], value, side="right"))


def traits_of(scene: Scene) -> Traits:
    motion = ego_motion(scene)
    return Traits(
        speed=float(np.mean(motion.speed)),
        turn_rate=float(np.degrees(np.mean(motion.yaw_rate))),
        agents=float(sum(int(track.present.sum()) for track in scene.tracks) / scene.num_frames),
    )


def bin_label(trait: str, number: int) -> str:
    """The bin as a range, such as ``5-10`` or ``20 or more``."""
    edges = BINS[trait]
    if number < 0:
        return UNKNOWN
    if number == 0:
        return f"below {edges[0]:g}"
    return f"{edges[-1]:g} or more" if number == len(edges) else f"{edges[number - 1]:g} to {edges[number]:g}"
