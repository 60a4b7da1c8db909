"""Drawing puppets: mesh, light, texture, lens. One call draws all frames of a clip."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from argen.puppets.head import Head
from argen.puppets.mesh import INNER_LIPS, LEFT_EYE, RIGHT_EYE, deform
from argen.puppets.person import Person
from argen.puppets.raster import rasterise
from argen.puppets.scene import Drawing, Performance, Scene
from argen.puppets.scenery import background, draw_glasses
from argen.puppets.shading import look_of, pixel_colours, vertex_light

PIVOT = np.array([0.0, -0.3, -0.9], np.float32)  # where the head turns on the neck
DISTANCE = 9.0  # camera to face, in half-widths of the face


def draw(person: Person, performance: Performance, scene: Scene, size: int = 64) -> Drawing:
    """All frames of a clip, `size` x `size` pixels."""
    look = look_of(person)
    mesh = deform(look.neutral, performance.action_units, performance.asymmetry)
    model = _with_centres(mesh, look.head)
    placed = _pose(model, performance.pose, look.head.body)
    side = 2 * size
    points = _project(placed, scene, side)
    found = rasterise(points, look.head.triangles, look.head.bias * scene.scale * side, side, side)
    shade = vertex_light(placed, look.head, scene)
    colour = pixel_colours(found, look, model, performance, shade) * scene.light_colour
    picture = background(scene.background, side, len(mesh))
    picture.reshape(-1, 3)[found.pixels] = np.clip(colour, 0, 255).astype(np.uint8)
    if person.glasses:
        draw_glasses(picture, points, person)
    frames = np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in picture])
    landmarks = points[:, :478] / 2 * np.array([1, 1, -1], np.float32)
    return Drawing(frames, landmarks.astype(np.float32))


def _with_centres(mesh: ndarray, head: Head) -> ndarray:
    """Face mesh, the three centres, and the rigid parts, for every frame."""
    frames = len(mesh)
    rings = [mesh[:, list(ring)].mean(axis=1, keepdims=True) for ring in (RIGHT_EYE, LEFT_EYE, INNER_LIPS)]
    rigid = np.broadcast_to(head.extra, (frames, *head.extra.shape))
    return np.concatenate([mesh, *rings, rigid], axis=1)


def _pose(model: ndarray, pose: ndarray, body: int) -> ndarray:
    yaw, pitch, roll = np.radians(pose.T)
    turned = (model - PIVOT) @ _rotation(yaw, pitch, roll).transpose(0, 2, 1) + PIVOT
    turned[:, -body:] = model[:, -body:]
    return np.asarray(turned, np.float32)


def _rotation(yaw: ndarray, pitch: ndarray, roll: ndarray) -> Float32[ndarray, "T 3 3"]:
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)
    cy, sy, cp, sp, cr, sr = (
        np.cos(yaw),
        np.sin(yaw),
        np.cos(pitch),
        np.sin(pitch),
        np.cos(roll),
        np.sin(roll),
    )
    around_y = np.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], 1).reshape(-1, 3, 3)
    around_x = np.stack([one, zero, zero, zero, cp, sp, zero, -sp, cp], 1).reshape(-1, 3, 3)
    around_z = np.stack([cr, -sr, zero, sr, cr, zero, zero, zero, one], 1).reshape(-1, 3, 3)
    return np.asarray((around_z @ around_x @ around_y).astype(np.float32))


def _project(points: ndarray, scene: Scene, side: int) -> Float32[ndarray, "T N 3"]:
    near = DISTANCE / (DISTANCE - points[..., 2])
    x = scene.centre[0] * side + scene.scale * side * points[..., 0] * near
    y = scene.centre[1] * side - scene.scale * side * points[..., 1] * near
    return np.stack([x, y, scene.scale * side * points[..., 2]], axis=-1).astype(np.float32)
