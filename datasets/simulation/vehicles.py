"""Cars, vans, trucks and buses as parts, with the origin on the ground, facing +x."""

from dataclasses import dataclass

from driveforge.datasets.simulation.mesh import CUBOID_FACES, Part, box, translation, wheel
from driveforge.datasets.simulation.world import Color, Size

_GLASSHOUSE = ("cabin_end", "cabin_end", "cabin_side", "paint")


def _block(size: Size, textures: tuple[str, str, str, str], place: tuple[float, float, float], tint: Color, *,
           front: float = 0, rear: float = 0, side: float = 0) -> Part:  # fmt: skip
    """A box with textures (front, rear, sides, top) and a black bottom."""
    ahead, behind, sides, top = textures
    return Part(
        vertices=box(size, front=front, rear=rear, side=side), faces=CUBOID_FACES,
        textures=(ahead, behind, sides, sides, top, "black"), tint=tint, to_body=translation(*place),
    )  # fmt: skip


def _wheels(length: float, width: float, radius: float, axles: tuple[float, ...]) -> list[Part]:
    vertices, faces = wheel(radius, 0.24)
    textures = ("black",) * (len(faces) - 2) + ("wheel", "wheel")
    return [
        Part(
            vertices=vertices,
            faces=faces,
            textures=textures,
            to_body=translation(axle * length, side * (width / 2 - 0.12), radius),
        )
        for axle in axles
        for side in (-1, 1)
    ]


def _brake_lights(length: float, width: float, z: float) -> list[Part]:
    size = (0.04, 0.22, 0.14)
    return [
        Part(vertices=box(size), faces=CUBOID_FACES, textures=("taillight",) * 6, is_brake_light=True,
             to_body=translation(-length / 2 + 0.018, y, z))
        for y in (-width / 2 + 0.18, width / 2 - 0.18)
    ]  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cabin:
    """The cabin of a car: ``length`` and position ``ahead`` as fractions of the car length, window slopes in m."""

    length: float
    ahead: float
    windscreen: float
    rear_window: float


def sedan(size: Size, color: Color) -> tuple[Part, ...]:
    """A car with a trunk behind the rear window."""
    return _car(size, color, _Cabin(length=0.56, ahead=-0.05, windscreen=0.9, rear_window=0.55))


def hatchback(size: Size, color: Color) -> tuple[Part, ...]:
    return _car(size, color, _Cabin(length=0.68, ahead=-0.11, windscreen=0.8, rear_window=0.3))


def suv(size: Size, color: Color) -> tuple[Part, ...]:
    return _car(size, color, _Cabin(length=0.7, ahead=-0.1, windscreen=0.75, rear_window=0.22))


def _car(size: Size, color: Color, cabin: _Cabin) -> tuple[Part, ...]:
    length, width, height = size
    belt, clearance = 0.60 * height, 0.15 * height
    body = _block((length - 0.04, width - 0.06, belt - clearance), ("body_front", "body_rear", "body_side", "paint"),
                  (0.02, 0, clearance), color, front=0.12, rear=0.06, side=0.03)  # fmt: skip
    top = _block((cabin.length * length, width - 0.14, height - belt), _GLASSHOUSE,
                 (cabin.ahead * length, 0, belt), color, front=cabin.windscreen, rear=cabin.rear_window,
                 side=0.16)  # fmt: skip
    wheels = _wheels(length, width, 0.22 * height, (-0.31, 0.31))
    return (body, top, *wheels, *_brake_lights(length, width, 0.8 * belt))


def van(size: Size, color: Color) -> tuple[Part, ...]:
    length, width, height = size
    lower = _block((length - 0.04, width - 0.06, 0.4 * height), ("body_front", "body_rear", "body_side", "paint"),
                   (0.02, 0, 0.25), color, front=0.1, side=0.02)  # fmt: skip
    upper = _block((length * 0.9, width - 0.1, 0.6 * height - 0.25), _GLASSHOUSE,
                   (-0.048 * length, 0, 0.4 * height + 0.25), color, front=0.75, rear=0.08, side=0.14)  # fmt: skip
    return (lower, upper, *_wheels(length, width, 0.34, (-0.31, 0.33)), *_brake_lights(length, width, 0.45 * height))


def truck(size: Size, color: Color) -> tuple[Part, ...]:
    length, width, height = size
    cab = 0.25 * length
    cargo = length - cab - 0.15
    parts = [
        _block((length - 0.1, width * 0.7, 0.35), ("black", "black", "black", "black"), (0, 0, 0.5), color),
        _block((cab, width - 0.1, 1.1), ("body_front", "paint", "body_side", "paint"),
               ((length - cab) / 2, 0, 0.45), color),
        _block((cab, width - 0.12, height * 0.78 - 1.55), ("cabin_end", "paint", "cabin_end", "paint"),
               ((length - cab) / 2, 0, 1.55), color, front=0.25, side=0.06),
        _block((cargo, width, height - 0.85), ("box_side", "box_rear", "box_side", "box_side"),
               (-(length - cargo) / 2, 0, 0.85), color),
    ]  # fmt: skip
    return (*parts, *_wheels(length, width, 0.46, (-0.33, -0.18, 0.34)), *_brake_lights(length, width, 0.92))


def bus(size: Size, color: Color) -> tuple[Part, ...]:
    length, width, height = size
    shell = _block((length, width, height - 0.32), ("bus_front", "bus_rear", "bus_side", "paint"), (0, 0, 0.32), color,
                   front=0.12, side=0.06)  # fmt: skip
    return (shell, *_wheels(length, width, 0.48, (-0.27, 0.3)), *_brake_lights(length, width, 0.95))
