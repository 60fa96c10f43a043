"""Street objects as parts: trees, lamps, signs and houses."""

from driveforge.datasets.simulation.mesh import CUBOID_FACES, Part, box, ellipsoid, gable_roof, prism, translation
from driveforge.datasets.simulation.world import Color, Size


def tree(height: float, spread: float, tint: Color, is_conifer: bool) -> tuple[Part, ...]:
    trunk, trunk_faces = prism(0.16, 0.1, 0.5 * height, 6)
    wood = Part(vertices=trunk, faces=trunk_faces, textures=("bark",) * len(trunk_faces), tile=1.5)
    if is_conifer:
        cone, cone_faces = prism(spread / 2, 0.15, 0.8 * height, 8)
        crown = [
            Part(
                vertices=cone,
                faces=cone_faces,
                textures=("leaves",) * len(cone_faces),
                tint=tint,
                tile=2.5,
                to_body=translation(0, 0, 0.2 * height),
            )
        ]
    else:
        crown = []
        for x, y, z, share in ((0, 0, 0.68, 1.0), (0.3, 0.2, 0.5, 0.7), (-0.28, -0.22, 0.55, 0.72)):
            blob, faces = ellipsoid((spread * share, spread * share, 0.6 * height * share))
            crown.append(Part(vertices=blob, faces=faces, textures=("leaves",) * len(faces), tint=tint, tile=2.5,
                              to_body=translation(x * spread, y * spread, z * height)))  # fmt: skip
    return (wood, *crown)


def lamp_post(height: float) -> tuple[Part, ...]:
    """A lamp post with an arm of 1.6 m along +x."""
    pole, faces = prism(0.09, 0.06, height, 6)
    return (
        Part(vertices=pole, faces=faces, textures=("metal",) * len(faces), tint=(0.6, 0.62, 0.65), tile=1.0),
        Part(
            vertices=box((1.7, 0.08, 0.08)),
            faces=CUBOID_FACES,
            textures=("metal",) * 6,
            tint=(0.6, 0.62, 0.65),
            to_body=translation(0.8, 0, height - 0.08),
        ),
        Part(
            vertices=box((0.6, 0.24, 0.1)),
            faces=CUBOID_FACES,
            textures=("metal",) * 5 + ("lamp",),
            to_body=translation(1.5, 0, height - 0.17),
        ),
    )


def sign_post(height: float, tint: Color) -> tuple[Part, ...]:
    """A sign that faces -x, on a post."""
    pole, faces = prism(0.04, 0.04, height, 6)
    return (
        Part(vertices=pole, faces=faces, textures=("metal",) * len(faces), tile=1.0),
        Part(
            vertices=box((0.05, 0.7, 0.7)),
            faces=CUBOID_FACES,
            textures=("gray", "sign", "gray", "gray", "gray", "gray"),
            tint=tint,
            to_body=translation(-0.06, 0, height - 0.7),
        ),
    )


def house(size: Size, facade: str, tint: Color, tile: float, roof: float, roof_tint: Color) -> tuple[Part, ...]:
    """A block with ``facade`` on four sides and a gable roof of height ``roof``, or a flat roof if that is 0."""
    walls = Part(
        vertices=box(size), faces=CUBOID_FACES, textures=(facade,) * 4 + ("gray", "black"), tint=tint, tile=tile
    )
    if roof <= 0:
        parapet = Part(
            vertices=box((size[0] + 0.4, size[1] + 0.4, 0.5)),
            faces=CUBOID_FACES,
            textures=("plaster",) * 6,
            tint=roof_tint,
            tile=4.0,
            to_body=translation(0, 0, size[2] - 0.1),
        )
        return walls, parapet
    vertices, faces = gable_roof(size[0] + 0.6, size[1] + 0.8, roof)
    saddle = Part(
        vertices=vertices,
        faces=faces,
        textures=("plaster", "plaster", "tiles", "tiles", "black"),
        tint=roof_tint,
        tile=4.0,
        to_body=translation(0, 0, size[2]),
    )
    return walls, saddle
