"""Checks of the values that clients send: each returns the value in its right type or raises WireError."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence

from clipdrive.carla_server.wire import FLOAT32_MAX, Pose

MAX_COORDINATE_M = 1.0e6
MAX_SPEED = 1.0e4


class WireError(ValueError):
    """A value that a client sent has not the type, length or range that the protocol gives it."""


def shown(value: object) -> str:
    """Return a short text for an error message, however long or deep the value is."""
    return f"{reprlib.repr(value):.60}"


def number(value: object, limit: float = FLOAT32_MAX, name: str = "number") -> float:
    """Return a finite float of at most `limit` in magnitude; raises WireError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WireError(f"{name}: got {shown(value)}, expected a number")
    if not -limit <= value <= limit:  # also false for nan
        raise WireError(f"{name}: got {shown(value)}, expected a finite number of at most {limit:g}")
    return float(value)


def integer(value: object, low: int = 0, high: int = 2**32 - 1, name: str = "integer") -> int:
    """Return an int in [low, high]; raises WireError."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise WireError(f"{name}: got {shown(value)}, expected an integer in [{low}, {high}]")
    return value


def boolean(value: object, name: str = "flag") -> bool:
    """Return a bool; raises WireError."""
    if not isinstance(value, bool):
        raise WireError(f"{name}: got {shown(value)}, expected true or false")
    return value


def text(value: object, name: str = "text", max_length: int = 4096) -> str:
    """Return a str of at most `max_length` characters; raises WireError."""
    if not isinstance(value, str) or len(value) > max_length:
        raise WireError(f"{name}: got {shown(value)}, expected a text of at most {max_length} characters")
    return value


def array(value: object, length: int | None = None, name: str = "array") -> list:
    """Return a list, of `length` elements where given; raises WireError."""
    if not isinstance(value, list) or (length is not None and len(value) != length):
        raise WireError(f"{name}: got {shown(value)}, expected an array of {length or 'any number of'} elements")
    return value


def vector(value: object, limit: float = MAX_SPEED, name: str = "vector") -> tuple[float, float, float]:
    """Return a Vector3D; raises WireError."""
    x, y, z = array(value, 3, name)
    return number(x, limit, name), number(y, limit, name), number(z, limit, name)


def transform(value: object) -> Pose:
    """Return a Transform [[x, y, z], [pitch, yaw, roll]] as a pose; raises WireError."""
    location, rotation = array(value, 2, "transform")
    return vector(location, MAX_COORDINATE_M, "location") + vector(rotation, MAX_COORDINATE_M, "rotation")


def as_transform(pose: Pose) -> tuple:
    """Return a pose as the wire's Transform."""
    return pose[:3], pose[3:]


def vehicle_control(value: object) -> tuple:
    """Return a VehicleControl of 7 fields, clamped as the simulator does; raises WireError."""
    throttle, steer, brake, hand_brake, reverse, manual_gear_shift, gear = array(value, 7, "control")
    return (
        min(max(number(throttle, name="throttle"), 0.0), 1.0),
        min(max(number(steer, name="steer"), -1.0), 1.0),
        min(max(number(brake, name="brake"), 0.0), 1.0),
        boolean(hand_brake, "hand_brake"),
        boolean(reverse, "reverse"),
        boolean(manual_gear_shift, "manual_gear_shift"),
        integer(gear, -(2**31), 2**31 - 1, "gear"),
    )


def walker_control(value: object) -> tuple:
    """Return a WalkerControl as (direction, speed in m/s, jump); raises WireError."""
    direction, speed_mps, jump = array(value, 3, "walker control")
    return vector(direction, FLOAT32_MAX, "direction"), number(speed_mps, name="speed"), boolean(jump, "jump")


def optional(value: object, name: str = "optional") -> object | None:
    """Return what an optional field `[false]` or `[true, v]` holds, None where empty; raises WireError."""
    if isinstance(value, list) and value and value[0] is False:
        return None
    if isinstance(value, list) and len(value) == 2 and value[0] is True:
        return value[1]
    raise WireError(f"{name}: got {shown(value)}, expected [false] or [true, value]")


def numbers_like(value: object, model: Sequence, name: str) -> list:
    """Return `value` checked to have the same nested shape and types as `model`.

    Numbers must be finite; an inner list of the model that holds one list stands for any number of them.
    Raises WireError.
    """
    values = array(value, len(model), name)
    checked: list = []
    for got, expected in zip(values, model, strict=True):
        if isinstance(expected, bool):
            checked.append(boolean(got, name))
        elif isinstance(expected, int):
            checked.append(integer(got, -(2**31), 2**31 - 1, name))
        elif isinstance(expected, float):
            checked.append(number(got, name=name))
        elif len(expected) == 1 and isinstance(expected[0], list | tuple):
            checked.append([numbers_like(item, expected[0], name) for item in array(got, None, name)])
        else:
            checked.append(numbers_like(got, expected, name))
    return checked
