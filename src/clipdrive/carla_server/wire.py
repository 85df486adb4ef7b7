"""The bytes of CARLA 0.9.16's wire protocol: msgpack on the RPC port, packed records on the stream port.

Everything is little endian. A pose is a tuple of six floats (x, y, z in metres, pitch, yaw, roll in degrees).
The client process dies on a malformed stream message, so the size of every layout below is asserted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import msgpack
import numpy as np

VERSION = "0.9.16"
Pose = tuple[float, float, float, float, float, float]

COLLISION, GNSS, IMU, CAMERA_RGB, WORLD_SNAPSHOT = 0, 4, 5, 13, 17  # sensor type indices of 0.9.16
CAMERA_DEPTH, CAMERA_SEMANTIC, CAMERA_INSTANCE = 1, 14, 15
OBSTACLE, RADAR, SEMANTIC_LIDAR, LIDAR = 7, 9, 10, 11
MAP_CHANGED = 1  # flag of a snapshot
ACTIVE = 1  # state of an actor in a snapshot
GREEN_LIGHT = 2

_HEADER = struct.Struct("<IQQd6f")  # message length, then the 48 bytes of a sensor header
_IMAGE = struct.Struct("<IQQd6fIIf")
_SNAPSHOT = struct.Struct("<IQQd6fQdf3iI")
_ACTOR = struct.Struct("<IB15f54x")
_VEHICLE = struct.Struct("<IB15f3f3BifBBIB24x")
_WALKER = struct.Struct("<IB15f4fB37x")
_TOKEN = struct.Struct("<IHBB16x")
_LIDAR = struct.Struct("<fI")
SEMANTIC_POINT = np.dtype(
    [("xyz", "<f4", 3), ("cosine", "<f4"), ("actor_id", "<u4"), ("tag", "<u4")]
)  # of a semantic lidar
assert SEMANTIC_POINT.itemsize == 24
STREAM_ID = struct.Struct("<I")
assert (_HEADER.size, _IMAGE.size, _SNAPSHOT.size) == (4 + 48, 4 + 48 + 12, 4 + 48 + 36)
assert (_ACTOR.size, _VEHICLE.size, _WALKER.size, _TOKEN.size) == (119, 119, 119, 24)
FLOAT32_MAX = 3.4e38

_packer = msgpack.Packer(use_bin_type=True)


def reply_value(message_id: int, value: object) -> bytes:
    """Encode the reply of a method that returns a value: [1, id, nil, [[1, value]]]."""
    return _packer.pack((1, message_id, None, ((1, value),)))


def reply_void(message_id: int) -> bytes:
    """Encode the reply of a method that returns nothing: [1, id, nil, [[false]]]."""
    return _packer.pack((1, message_id, None, ((False,),)))


def reply_bare(message_id: int, value: object) -> bytes:
    """Encode a reply without the wrapper, as apply_batch has it: [1, id, nil, value]."""
    return _packer.pack((1, message_id, None, value))


def reply_error(message_id: int, text: str) -> bytes:
    """Encode an error that the client shows as RuntimeError(text): [1, id, nil, [[0, [text]]]]."""
    return _packer.pack((1, message_id, None, ((0, (text,)),)))


def reply_refusal(message_id: int, text: str) -> bytes:
    """Encode an rpclib error: the call raises in the client, without the text."""
    return _packer.pack((1, message_id, text, None))


def pack(value: object) -> bytes:
    """Encode a payload that is msgpack (collision, IMU, GNSS)."""
    return _packer.pack(value)


def lidar_payload(angle_rad: float, per_channel: np.ndarray, points: np.ndarray) -> bytes:
    """Encode a turn of a lidar: points (n, 4) float32, or (n,) of `SEMANTIC_POINT`, ordered by channel."""
    head = _LIDAR.pack(angle_rad, len(per_channel))
    return head + per_channel.astype("<u4").tobytes() + points.tobytes()


def token(stream_id: int, port: int) -> bytes:
    """Encode a stream token of 24 bytes: TCP, and the address that the client already uses."""
    return _TOKEN.pack(stream_id, port, 1, 0)


def sensor_message(sensor_type: int, frame: int, elapsed_s: float, pose: Pose, payload: bytes) -> bytes:
    """Encode one message of a stream: length, sensor header, payload."""
    return _pack(_HEADER, 48 + len(payload), sensor_type, frame, elapsed_s, *pose) + payload


def image_head(
    frame: int,
    elapsed_s: float,
    pose: Pose,
    width: int,
    height: int,
    fov_deg: float,
    sensor_type: int = CAMERA_RGB,
) -> bytes:
    """Encode what comes before the pixels of an image: width * height * 4 bytes BGRA must follow."""
    length = 60 + width * height * 4
    return _pack(_IMAGE, length, sensor_type, frame, elapsed_s, *pose, width, height, fov_deg)


def snapshot(
    frame: int,
    elapsed_s: float,
    episode_id: int,
    wall_s: float,
    step_s: float,
    flags: int,
    records: Iterable[bytes],
) -> bytes:
    """Encode a world snapshot message from actor records of 119 bytes each."""
    body = b"".join(records)
    head = _SNAPSHOT.pack(
        84 + len(body), WORLD_SNAPSHOT, frame, elapsed_s, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
        episode_id, wall_s, step_s, 0, 0, 0, flags,
    )  # fmt: skip
    return head + body


def actor_record(actor_id: int, pose: Pose, velocity: Sequence[float] = (0.0, 0.0, 0.0)) -> bytes:
    """Encode an actor without state of its own (spectator, sensor, prop) for a snapshot."""
    return _pack(_ACTOR, actor_id, ACTIVE, *pose, *velocity, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def vehicle_record(
    actor_id: int,
    pose: Pose,
    velocity: Sequence[float],
    angular_velocity_deg: Sequence[float],
    acceleration: Sequence[float],
    control: Sequence,
    speed_limit_kmh: float,
) -> bytes:
    """Encode a vehicle for a snapshot; `control` is what `values.vehicle_control` returns."""
    motion = (*pose, *velocity, *angular_velocity_deg, *acceleration)
    return _pack(_VEHICLE, actor_id, ACTIVE, *motion, *control, speed_limit_kmh, GREEN_LIGHT, 0, 0, 0)


def walker_record(actor_id: int, pose: Pose, velocity: Sequence[float], control: tuple) -> bytes:
    """Encode a walker for a snapshot; `control` is what `values.walker_control` returns."""
    direction, speed_mps, jump = control
    return _pack(_WALKER, actor_id, ACTIVE, *pose, *velocity, *(0.0,) * 6, *direction, speed_mps, jump)


def _pack(layout: struct.Struct, *fields: float) -> bytes:
    try:
        return layout.pack(*fields)
    except OverflowError:  # a number that is no float32: never a reason to miss a snapshot
        return layout.pack(*(_clamped(field) if isinstance(field, float) else field for field in fields))


def _clamped(number: float) -> float:
    return max(-FLOAT32_MAX, min(FLOAT32_MAX, number)) if number == number else 0.0
