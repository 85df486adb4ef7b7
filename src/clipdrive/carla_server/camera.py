"""A pinhole camera on the ground map: one ray per pixel, met with the ground and the walls.

Axes are CARLA's (left-handed: x forward, y right, z up; pitch up, yaw right and roll to the right positive).
The field of view is horizontal and pixels are square; the ray of the pixel in row j and column i passes through its
middle, (i + 0.5, j + 0.5), and the optical axis through (width / 2, height / 2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from clipdrive.carla_server import camera_boxes as boxed
from clipdrive.carla_server import camera_colours as colours
from clipdrive.carla_server import camera_faces as faces
from clipdrive.carla_server import camera_kernels as rays
from clipdrive.carla_server import camera_walls as walls
from clipdrive.carla_server.actors import DrawnBox
from clipdrive.carla_server.camera_buffers import NO_DEPTHS, NO_TAGS, Desk, pixel_rays
from clipdrive.carla_server.ground import GroundMap
from clipdrive.carla_server.materials import HORIZON
from clipdrive.carla_server.poses import axes, turn
from clipdrive.carla_server.raster import bilinear, kernel
from clipdrive.carla_server.weather import CLEAR, Weather, looks

HEIGHT_MIN_M = 0.02  # a camera lower than this above the ground is drawn from this height


NO_BOXES, NO_MOUNTS = np.empty((0, boxed.ROW_SIZE)), np.empty(0, dtype=np.int64)
NO_FRAMES = np.empty((0, 4), dtype=np.int64)
_desk = Desk()


class CameraError(ValueError):
    """A camera that cannot be built."""


class Camera:
    """A camera of `width` x `height` pixels and a horizontal field of view in degrees; raises CameraError.

    kind: of its images: RGB, DEPTHS, TAGS or INSTANCES of `camera_boxes`.
    """

    def __init__(self, width: int, height: int, fov_deg: float, kind: int = boxed.RGB) -> None:
        if width < 1 or height < 1:
            raise CameraError(f"The image is {width} x {height} pixels; both must be at least 1.")
        if not 1.0 <= fov_deg <= 175.0:
            raise CameraError(f"The field of view is {fov_deg} degrees; it must be within 1 .. 175.")
        self.width, self.height, self.fov_deg = int(width), int(height), float(fov_deg)
        self._rays = pixel_rays(self.width, self.height, self.fov_deg)
        self.focal_px = self._rays.focal_px
        self.kind = kind

    def render(
        self,
        ground: GroundMap,
        x_m: float,
        y_m: float,
        z_m: float,
        pitch_deg: float,
        yaw_deg: float,
        roll_deg: float,
        boxes: np.ndarray = NO_BOXES,
        mounts: np.ndarray = NO_MOUNTS,
        weather: Weather = CLEAR,
    ) -> np.ndarray:
        """What the camera sees from that pose: (height, width, 4) uint8 BGRA, alpha 255.

        boxes (m, 20): `box_rows` of what stands around; mounts: ids of those of them that are not seen.
        A pose that is not finite shows the scene from the grid's first cell, looking level along x.
        """
        surveyed = len(boxes) or self.kind != boxed.RGB
        depths, tags = _desk.survey(self.width * self.height) if surveyed else (NO_DEPTHS, NO_TAGS)
        pixels = np.empty(self.width * self.height, dtype="<u4")
        _draw(
            pixels,
            self._rays.us,
            self._rays.vs,
            self.focal_px,
            (float(x_m), float(y_m), float(z_m), float(pitch_deg), float(yaw_deg), float(roll_deg)),
            ground.edge,
            ground.far,
            ground.relief,
            ground.line,
            ground.line_code,
            ground.place,
            *looks(ground.texture_seed, weather),
            *_desk.scratch,
            (self.kind, self.width, self.height),
            boxes,
            mounts,
            np.empty((len(boxes), 4), dtype=np.int64) if len(boxes) else NO_FRAMES,
            depths,
            tags,
        )
        return pixels.view(np.uint8).reshape(self.height, self.width, 4)


def box_rows(boxes: Sequence[DrawnBox]) -> np.ndarray:
    """The boxes as (m, 20) float64 rows for the kernels, see `camera_boxes`."""
    rows = np.empty((len(boxes), boxed.ROW_SIZE))
    for row, box in zip(rows, boxes, strict=True):
        frame = axes(*box.pose[3:])
        middle = turn(frame, box.centre_m)
        red, green, blue = box.color
        row[:] = (
            *(at + by for at, by in zip(box.pose[:3], middle, strict=True)), *frame[0], *frame[1], *frame[2],
            *box.half_extents_m, blue, green, red, box.tag, box.actor_id,
        )  # fmt: skip
    return rows


@kernel
def put_camera(axes, camera, pose, x0, y0):
    """Set `axes` (3, 3) to the columns forward, right and up of the pose's rotation, as carla.Transform.get_matrix has
    them, and `camera` (3,) to its place; of a pose that is not finite, to the grid's first cell and level along x.
    """
    finite = True
    for number in pose:
        finite &= math.isfinite(number)
    x, y, z, pitch_deg, yaw_deg, roll_deg = pose if finite else (x0, y0, 1.0, 0.0, 0.0, 0.0)
    p, h, r = math.radians(pitch_deg), math.radians(yaw_deg), math.radians(roll_deg)
    sp, cp, sy, cy, sr, cr = math.sin(p), math.cos(p), math.sin(h), math.cos(h), math.sin(r), math.cos(r)
    axes[0, 0], axes[0, 1], axes[0, 2] = cp * cy, cy * sp * sr - sy * cr, -cy * sp * cr - sy * sr
    axes[1, 0], axes[1, 1], axes[1, 2] = cp * sy, sy * sp * sr + cy * cr, -sy * sp * cr + cy * sr
    axes[2, 0], axes[2, 1], axes[2, 2] = sp, -cp * sr, cp * cr
    camera[0], camera[1], camera[2] = x, y, z


@kernel
def _draw(
    pixels, us, vs, focal, pose, edge, far, elevation, line, code, place, shades, contrasts, grain, haze,
    axes, camera, s, c, w, q, image, boxes, mounts, frames, depth, what,
):  # fmt: skip
    """Fill `pixels` (n,) with BGRA as uint32, for rays at `us`, `vs` (n,); `axes` to `q` and `frames` are scratch."""
    kind, width, height = image
    flat, x0, y0, per_m, base_z, _, wall, _ = place
    put_camera(axes, camera, pose, x0, y0)
    x, y = camera[0], camera[1]
    floor = base_z if flat else bilinear(elevation, x0, y0, per_m, x, y)
    z = max(camera[2], floor + HEIGHT_MIN_M)
    camera[2] = z
    seen = len(boxes) > 0 and boxed.frame_boxes(frames, boxes, mounts, camera, axes, focal, width, height) > 0
    row_from, row_until = boxed.framed_rows(frames, height) if kind == boxed.RGB else (0, height)
    survey_from, survey_until = row_from * width, row_until * width  # whose depths and tags are needed
    s[rays.SLOPE_X : rays.SLOPE_Y + rays.RUN] = 0.0
    taken = 0  # rays that walls are still to be drawn for
    for start in range(0, len(pixels), rays.RUN):
        n = min(rays.RUN, len(pixels) - start)
        end = start + n
        rays.cast_rays(s, n, us[start:end], vs[start:end], axes)
        if flat:
            some, walled = rays.meet_plane(s, n, base_z - z), 0
        else:
            some, walled = rays.meet_heights(s, n, x, y, z, focal, edge, elevation, place)
        if some > 0:
            rays.to_cells(s, n, x, y, place, edge.shape[0], edge.shape[1])
            if not flat:
                rays.read_slope(s, q, n, elevation, per_m)
            rays.read_edge(s, q, n, edge)
            rays.footprint(s, n, axes, focal, per_m)
            colours.read_grain(s, q, n, grain)
            lined = colours.find_lines(s, q, n, line, code)
            colours.draw_lines(s, q, lined, line, code, axes, focal, per_m)
            colours.shares(s, n, haze)
            colours.colour_ground(s, n, place[5], shades, contrasts)
        else:
            colours.colour_sky(s, n, shades)
        colours.store(s, n, pixels[start:end])
        if end > survey_from and start < survey_until:
            boxed.survey(s, n, depth[start:end], what[start:end])
        if wall <= 0.0:
            continue
        if flat:
            rays.stretches(s, n, z - base_z, focal, place)
            taken = walls.take_rays(s, n, start, c, q, taken)
        else:
            taken = walls.take_met(s, walled, start, c, q, taken)
        if taken > walls.FULL or (taken > 0 and end == len(pixels)):
            met = walls.meet_walls(c, w, q, taken, x, y, focal, edge, far, place) if flat else taken
            taken = 0
            if survey_from < survey_until:
                boxed.survey_walls(c, q, met, x, y, z, elevation, place, depth, what)
            faces.colour_walls(
                c, w, q, met, pixels, x, y, z, focal, edge, elevation, place, shades, contrasts, grain, haze
            )
    if seen:
        boxed.draw_boxes(pixels, depth, what, boxes, frames, us, vs, width, camera, axes, haze, shades[HORIZON])
    if kind != boxed.RGB:
        boxed.encode(pixels, depth, what, kind)
