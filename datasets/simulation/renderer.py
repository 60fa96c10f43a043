"""Rendering of a world with pinhole cameras on the ego vehicle."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from driveforge.datasets.geometry import Array, inverse, pixel_rays, pose
from driveforge.datasets.scene import Camera
from driveforge.datasets.simulation.atlas import pack_atlas
from driveforge.datasets.simulation.pixel_shader import face_normals, shade
from driveforge.datasets.simulation.rain import add_rain
from driveforge.datasets.simulation.random_textures import make_textures
from driveforge.datasets.simulation.rasterizer import NO_FACE, SUBSAMPLES, rasterize, to_camera
from driveforge.datasets.simulation.tables import (
    Scenery,
    Textures,
    flatten_faces,
    ground_tables,
    light_tables,
    shadow_table,
    surface_tables,
)
from driveforge.datasets.simulation.world import World

_BRAKE_LIGHT_GLOW = 2.2
# The first sub-pixel of a pixel, from its center, px.
_FIRST_SUBPIXEL = 0.5 / SUBSAMPLES - 0.5


class _View(NamedTuple):
    """A camera pose, and the world rasterized from there."""

    camera_to_world: Array
    intrinsics: Array
    body_to_world: Array
    part_to_world: Array
    points: Array
    face_ids: NDArray[np.int32]
    coefficients: Array


class Renderer:
    """Renders a world, whose geometry and textures are prepared once as flat arrays. Rendering has no side effects."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._parts = [part for body in world.bodies for part in body.parts]
        self._body_of_part = np.repeat(np.arange(len(world.bodies)), [len(body.parts) for body in world.bodies])
        self._vertices = np.concatenate([part.vertices for part in self._parts])
        self._body_of_face = np.repeat(self._body_of_part, [len(part.faces) for part in self._parts])
        self._vertex_part = np.repeat(np.arange(len(self._parts)), [len(part.vertices) for part in self._parts])
        self._corners, self._face_start = flatten_faces(self._parts)
        self._to_body = np.stack([part.to_body for part in self._parts])
        self._brake_lights = [k for k, part in enumerate(self._parts) if part.is_brake_light]
        self._swinging = [k for k, part in enumerate(self._parts) if part.swing is not None]
        atlas = pack_atlas(make_textures(world.has_interior, world.seed))
        self._textures = Textures(atlas.texels, atlas.levels)
        self._surfaces = surface_tables(self._parts, atlas.index)
        self._ground = ground_tables(world.ground, atlas.index)
        self._light = light_tables(world.weather, atlas.index)

    def render(self, t: int, camera: Camera) -> NDArray[np.uint8]:
        """Frame ``(H, W, 3)`` uint8 RGB of a calibrated ``camera`` at time index ``t``."""
        view = self._rasterize_view(t, camera)
        weather = self.world.weather
        scenery = Scenery(
            coefficients=view.coefficients,
            normals=face_normals(view.points, self._corners, self._face_start) @ view.camera_to_world[:3, :3].T,
            world_to_part=inverse(view.part_to_world),
            surfaces=self._surfaces._replace(glow=self._glow(t)),
            textures=self._textures,
            ground=self._ground,
            light=self._light,
            shadows=shadow_table(self.world.bodies, view.body_to_world, view.camera_to_world[:2, 3], weather),
        )
        image, gloss = shade(view.face_ids, scenery, view.camera_to_world, view.intrinsics, camera.height, camera.width)
        if weather.wetness > 0:
            bodies = view.face_ids[::SUBSAMPLES, ::SUBSAMPLES] != NO_FACE
            image = add_rain(image, bodies, gloss, self.world.seed, t, weather.wetness)
        return np.asarray(np.clip(np.rint(image), 0, 255).astype(np.uint8))

    def depth(self, t: int, camera: Camera) -> Array:
        """Depth ``(H, W)`` in meters along the optical axis, at most 0.36 px from pixel centers; infinite for sky."""
        return self.depth_and_bodies(t, camera)[0]

    def depth_and_bodies(self, t: int, camera: Camera) -> tuple[Array, NDArray[np.int64]]:
        """The depth as of ``depth``, and the index ``(H, W)`` of the visible body; -1 for ground and sky."""
        view = self._rasterize_view(t, camera)
        face_ids = view.face_ids[::SUBSAMPLES, ::SUBSAMPLES]
        u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
        rays = pixel_rays(view.intrinsics, camera.height, camera.width) @ view.camera_to_world[:3, :3].T
        with np.errstate(divide="ignore"):
            ground = np.where(rays[..., 2] < -1e-5, -view.camera_to_world[2, 3] / rays[..., 2], np.inf)
            a, b, c = np.moveaxis(view.coefficients[face_ids], -1, 0)
            # At the sub-pixel that shows the face: at the center, the plane of a slanted face may be far beyond it.
            body = 1 / (a * (u + _FIRST_SUBPIXEL) + b * (v + _FIRST_SUBPIXEL) + c)
            depth = np.where(face_ids == NO_FACE, ground, body)
        return depth, np.where(face_ids == NO_FACE, -1, self._body_of_face[face_ids])

    def count_body_pixels(self, t: int, camera: Camera) -> Array:
        """Number of visible pixels ``(B,)`` of each body of the world."""
        face_ids = self._rasterize_view(t, camera).face_ids
        counts = np.bincount(self._body_of_face[face_ids[face_ids != NO_FACE]], minlength=len(self.world.bodies))
        return np.asarray(counts / SUBSAMPLES**2)

    def _rasterize_view(self, t: int, camera: Camera) -> _View:
        k = np.asarray(camera.intrinsics)
        extrinsics = np.asarray(camera.camera_to_ego).reshape(-1, 4, 4)
        camera_to_world = self.world.ego_to_world[t] @ extrinsics[min(t, len(extrinsics) - 1)]
        body_to_world = np.stack([body.poses[min(t, len(body.poses) - 1)] for body in self.world.bodies])
        part_to_world = body_to_world[self._body_of_part] @ self._part_to_body(t)
        points = to_camera(self._vertices, self._vertex_part, inverse(camera_to_world) @ part_to_world)
        face_ids, coefficients = rasterize(
            points, self._corners, self._face_start, k[0, 0], k[1, 1], k[0, 2], k[1, 2], camera.height, camera.width
        )
        return _View(camera_to_world, k, body_to_world, part_to_world, points, face_ids, coefficients)

    def _part_to_body(self, t: int) -> Array:
        out = self._to_body.copy()
        for k in self._swinging:
            swing, distance_walked = self._parts[k].swing, self.world.bodies[self._body_of_part[k]].distance_walked
            assert swing is not None and distance_walked is not None, "bodies with swinging limbs walk"
            angle = swing.amplitude * np.sin(swing.phase + swing.rate * distance_walked[t])
            c, s = float(np.cos(angle)), float(np.sin(angle))
            out[k] = out[k] @ pose([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]], [0.0, 0.0, 0.0])
        return out

    def _glow(self, t: int) -> Array:
        glow = np.full(len(self._parts), self.world.weather.glow)
        for k in self._brake_lights:
            braking = self.world.bodies[self._body_of_part[k]].braking
            if braking is not None and braking[t]:
                glow[k] = _BRAKE_LIGHT_GLOW
        return glow
