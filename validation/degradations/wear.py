"""Known-good clips as a gate meets them: simulated ones are degraded like recordings, before limits are fitted to them.

A simulation has a clean lens, a constant exposure, exact poses and no recorder. Limits of clean clips reject recordings
that carry all of these.
"""

import hashlib

import numpy as np

from driveforge.datasets.scene import Clip
from driveforge.validation.degradations.recording import auto_expose, compress, roll_shutter, soil_lens, stand_still
from driveforge.validation.degradations.sensor import SensorDegradation, degrade, sample_degradation

SIMULATED = "simulated:"  # what the source of a simulated scene starts with
# Shares of the simulated clips that get each degradation, and of the recordings that are compressed once more.
STANDING, ROLLING, SOILED, EXPOSED, COMPRESSED = 0.1, 0.5, 0.2, 0.6, 0.8
RECOMPRESSED = 0.3
READOUT_S = (0.01, 0.03)
MAX_BLOTS = 6
MAX_OFFSET, MAX_HUNTING = 0.08, 0.006  # log gain
SIMULATED_CRF, RECORDED_CRF = (23, 33), (23, 28)


def wear_known_good(clip: Clip) -> Clip:
    """``clip`` as from an ordinary camera and recorder; the id of the clip is the seed.

    A simulated clip gets a random part of all degradations. A recording has its own, and gets only mild inter-frame
    compression, in a part of the clips.
    """
    seed = int.from_bytes(hashlib.sha256(clip.scene.clip_id.encode()).digest()[:8])
    rng = np.random.default_rng(seed)
    if clip.scene.source.startswith(SIMULATED):
        return _wear_simulated(clip, rng)
    return _compress_some(clip, RECOMPRESSED, RECORDED_CRF, rng)


def _wear_simulated(clip: Clip, rng: np.random.Generator) -> Clip:
    if rng.random() < STANDING:
        clip = stand_still(clip)
    return record(clip, sample_degradation(rng), rng)


def record(clip: Clip, degradation: SensorDegradation, rng: np.random.Generator) -> Clip:
    """``clip`` as a camera sees it and a recorder stores it: shutter, lens, exposure, sensor, inter-frame compression.

    ``degradation`` is that of the sensor; of the others a random part is applied, with random strengths.
    """
    if rng.random() < ROLLING:
        clip = roll_shutter(clip, rng.uniform(*READOUT_S))
    if rng.random() < SOILED:
        clip = soil_lens(clip, int(rng.integers(1, MAX_BLOTS + 1)), _seed(rng))
    if rng.random() < EXPOSED:
        clip = auto_expose(clip, rng.uniform(-MAX_OFFSET, MAX_OFFSET), rng.uniform(0, MAX_HUNTING), _seed(rng))
    clip = degrade(clip, degradation, _seed(rng))
    return _compress_some(clip, COMPRESSED, SIMULATED_CRF, rng)


def _compress_some(clip: Clip, share: float, crf: tuple[int, int], rng: np.random.Generator) -> Clip:
    return compress(clip, int(rng.integers(crf[0], crf[1] + 1))) if rng.random() < share else clip


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))
