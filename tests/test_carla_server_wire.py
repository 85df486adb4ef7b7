"""Bytes on the wire against examples written down by hand from the protocol."""

from __future__ import annotations

import struct

import msgpack
import numpy as np
import pytest

from clipdrive.carla_server import values, wire

POSE = (1.5, -2.5, 3.5, 4.0, -5.0, 6.0)


def test_replies_have_the_bytes_of_the_protocol():
    assert wire.reply_value(13, 18) == bytes.fromhex("94010dc091920112")
    assert wire.reply_void(5) == bytes.fromhex("940105c09191c2")
    assert wire.reply_error(5, "no room") == bytes.fromhex("940105c091920091a7") + b"no room"
    assert wire.reply_refusal(5, "no room") == bytes.fromhex("940105a7") + b"no room" + b"\xc0"
    assert msgpack.unpackb(wire.reply_bare(7, [((1, 3),)])) == [1, 7, None, [[[1, 3]]]]


def test_token_has_24_bytes():
    token = wire.token(0x01020304, 2001)
    assert token == bytes.fromhex("04030201d1070100") + bytes(16)


def test_image_head_announces_the_pixels():
    head = wire.image_head(7, 0.35, POSE, 84, 60, 90.0)
    length, kind, frame, elapsed, *rest = struct.unpack("<IQQd6fIIf", head)
    assert (length, kind, frame, elapsed) == (48 + 12 + 84 * 60 * 4, 13, 7, 0.35)
    assert tuple(rest) == (*POSE, 84, 60, 90.0)


def test_snapshot_lays_out_every_field_of_a_vehicle():
    control = (0.5, -0.25, 0.125, True, False, True, -1)
    record = wire.vehicle_record(9, POSE, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), (7.0, 8.0, 9.0), control, 30.0)
    assert len(record) == 119
    assert struct.unpack_from("<IB", record) == (9, 1)
    assert struct.unpack_from("<6f", record, 5) == POSE
    assert struct.unpack_from("<9f", record, 29) == tuple(map(float, range(1, 10)))
    assert struct.unpack_from("<3fBBBif", record, 65) == (0.5, -0.25, 0.125, 1, 0, 1, -1, 30.0)
    message = wire.snapshot(3, 0.15, 2, 1e9, 0.05, 1, [record, wire.actor_record(1, POSE)])
    assert len(message) == 4 + 48 + 36 + 2 * 119
    assert struct.unpack_from("<IQQd", message) == (len(message) - 4, 17, 3, 0.15)
    assert struct.unpack_from("<QdfiiiI", message, 52) == (2, 1e9, pytest.approx(0.05), 0, 0, 0, 1)


def test_numbers_too_large_for_the_wire_do_not_stop_a_snapshot():
    control = (0.0, 0.0, 0.0, False, False, False, 0)
    huge = (1e300, -1e300, float("nan"))
    record = wire.vehicle_record(1, POSE, huge, huge, huge, control, 30.0)
    assert len(record) == 119
    assert struct.unpack_from("<3f", record, 29) == pytest.approx((3.4e38, -3.4e38, 0.0))


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (values.transform, [[0.0, 0.0, float("nan")], [0.0, 0.0, 0.0]]),
        (values.transform, [[0.0, 0.0, 1e9], [0.0, 0.0, 0.0]]),
        (values.transform, [[0.0, 0.0], [0.0, 0.0, 0.0]]),
        (values.transform, "here"),
        (values.vehicle_control, [0.0, 0.0, 0.0, 0, False, False, 0]),
        (values.vehicle_control, [0.0, 0.0, 0.0, False, False, False]),
        (values.vehicle_control, [float("inf"), 0.0, 0.0, False, False, False, 0]),
        (values.optional, [True]),
        (values.integer, True),
        (values.integer, -1),
        (values.text, b"bytes"),
    ],
)
def test_wrong_values_are_refused(check, value):
    with pytest.raises(values.WireError, match="got"):
        check(value)


def test_controls_are_clamped():
    got = values.vehicle_control([2, -3, -1, True, False, False, 1])
    assert got == (1.0, -1.0, 0.0, True, False, False, 1)


def test_shapes_are_checked_against_a_model():
    model = [[[0.0, 0.0]], 1.0, True]
    assert values.numbers_like([[[1, 2], [3, 4]], 5, False], model, "x") == [[[1.0, 2.0], [3.0, 4.0]], 5.0, False]
    with pytest.raises(values.WireError):
        values.numbers_like([[[1, 2, 3]], 5, False], model, "x")


def test_a_walker_record_lays_out_its_control():
    record = wire.walker_record(5, POSE, (1.0, 2.0, 3.0), ((0.5, -0.5, 0.25), 1.5, True))
    assert len(record) == 119
    assert struct.unpack_from("<IB9f", record) == (5, 1, *POSE, 1.0, 2.0, 3.0)
    assert struct.unpack_from("<4fB", record, 65) == (0.5, -0.5, 0.25, 1.5, 1)


def test_lidar_points_come_behind_a_count_for_every_channel():
    points = np.arange(12, dtype="<f4").reshape(3, 4)
    payload = wire.lidar_payload(1.5, np.array([1, 0, 2]), points)
    assert struct.unpack_from("<fI3I", payload) == (1.5, 3, 1, 0, 2)
    assert struct.unpack_from("<12f", payload, 20) == tuple(range(12))
    assert len(payload) == 20 + 48
    table = np.zeros(1, dtype=wire.SEMANTIC_POINT)
    table["xyz"], table["cosine"], table["actor_id"], table["tag"] = (1.0, 2.0, 3.0), 0.5, 77, 14
    assert wire.lidar_payload(0.0, np.array([1]), table)[12:] == struct.pack("<4fII", 1.0, 2.0, 3.0, 0.5, 77, 14)
