"""Pedestrians and cyclists as parts, with limbs that swing with the distance moved."""

import numpy as np

from driveforge.datasets.geometry import pose
from driveforge.datasets.simulation.mesh import CUBOID_FACES, Part, Swing, box, ellipsoid, translation, wheel
from driveforge.datasets.simulation.world import Color, Size


def _limb(size: Size, texture: str, tint: Color, joint: tuple[float, float, float], swing: Swing | None) -> Part:
    """A box suspended from ``joint``."""
    vertices = box(size) - [0, 0, size[2]]
    return Part(
        vertices=vertices,
        faces=CUBOID_FACES,
        textures=(texture,) * 6,
        tint=tint,
        to_body=translation(*joint),
        swing=swing,
    )


def person(height: float, coat: Color, trousers: Color, phase: float) -> tuple[Part, ...]:
    """A walking person: legs and arms swing in opposition, one period per 0.8 body heights."""
    unit = height / 1.74
    rate = 2 * np.pi / (0.8 * height)
    parts = []
    for side in (-1, 1):
        half_turn = phase + (np.pi if side > 0 else 0)
        leg = Swing(amplitude=0.36, phase=half_turn, rate=rate)
        arm = Swing(amplitude=0.36, phase=half_turn + np.pi, rate=rate)
        parts.append(
            _limb((0.17 * unit, 0.16 * unit, 0.84 * unit), "cloth", trousers, (0, side * 0.1 * unit, 0.86 * unit), leg)
        )
        parts.append(
            _limb((0.11 * unit, 0.1 * unit, 0.6 * unit), "cloth", coat, (0, side * 0.25 * unit, 1.42 * unit), arm)
        )
    torso = Part(
        vertices=box((0.24 * unit, 0.42 * unit, 0.62 * unit), side=-0.02),
        faces=CUBOID_FACES,
        textures=("cloth",) * 6,
        tint=coat,
        to_body=translation(0, 0, 0.84 * unit),
    )
    return (*parts, torso, *_head(0.0, 1.6 * unit, unit))


def _head(x: float, z: float, unit: float) -> tuple[Part, Part]:
    face, faces = ellipsoid((0.22 * unit, 0.2 * unit, 0.27 * unit))
    hair, hair_faces = ellipsoid((0.23 * unit, 0.22 * unit, 0.2 * unit))
    return (
        Part(vertices=face, faces=faces, textures=("skin",) * len(faces), to_body=translation(x, 0, z)),
        Part(
            vertices=hair,
            faces=hair_faces,
            textures=("bark",) * len(hair_faces),
            to_body=translation(x - 0.03, 0, z + 0.04 * unit),
        ),
    )


def cyclist(size: Size, coat: Color, phase: float) -> tuple[Part, ...]:
    """A rider on a bicycle, with one pedal revolution per 4.5 meters."""
    length, _, height = size
    radius = 0.34
    vertices, faces = wheel(radius, 0.05)
    tires = [
        Part(
            vertices=vertices,
            faces=faces,
            textures=("black",) * (len(faces) - 2) + ("wheel", "wheel"),
            to_body=translation(x, 0, radius),
        )
        for x in (-length / 2 + radius, length / 2 - radius)
    ]
    frame = Part(
        vertices=box((0.95, 0.06, 0.1)),
        faces=CUBOID_FACES,
        textures=("paint",) * 6,
        tint=(0.2, 0.3, 0.7),
        to_body=translation(0, 0, 0.6),
    )
    bar = Part(
        vertices=box((0.08, 0.5, 0.06)), faces=CUBOID_FACES, textures=("black",) * 6, to_body=translation(0.42, 0, 0.98)
    )
    lean = pose([[0.82, 0.0, 0.57], [0.0, 1.0, 0.0], [-0.57, 0.0, 0.82]], [-0.25, 0.0, 0.92])
    torso = Part(vertices=box((0.24, 0.4, 0.6)), faces=CUBOID_FACES, textures=("cloth",) * 6, tint=coat, to_body=lean)
    legs = [
        _limb((0.16, 0.14, 0.72), "cloth", (0.13, 0.14, 0.2), (-0.2, side * 0.12, 0.98),
              Swing(amplitude=0.5, phase=phase + (np.pi if side > 0 else 0), rate=2 * np.pi / 4.5))
        for side in (-1, 1)
    ]  # fmt: skip
    return (*tires, frame, bar, torso, *legs, *_head(0.16, height - 0.16, 1.0))
