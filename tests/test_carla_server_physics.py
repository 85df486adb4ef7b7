"""What a VehiclePhysicsControl and an Ackermann control change about how the bundled server's cars drive."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carla_server_roads import ground, straight
from clipdrive.carla_server.blueprints import LIBRARY
from clipdrive.carla_server.catalogue import VEHICLES
from clipdrive.carla_server.physics_control import PhysicsControl
from clipdrive.carla_server.values import WireError
from clipdrive.carla_server.vehicle_actor import Vehicle

STEP_S = 0.05
MASS, WHEELS = 11, 15
ROLLED = 10 * STEP_S * 0.01 * 9.81  # m/s that rolling takes in ten steps, whatever the mass


@pytest.fixture(scope="module")
def pad():
    """A square of asphalt, 2 km long, without walls."""
    return ground(straight(2000.0, lanes=((1, 100.0), (-1, 100.0))), wall_height_m=0.0)


def car(name="vehicle.tesla.model3", speed=0.0):
    blueprint = LIBRARY[name]
    vehicle = Vehicle(1, blueprint, blueprint.values({}), (100.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    vehicle.set_velocity((speed, 0.0, 0.0))
    return vehicle


def change(vehicle, edit):
    """Get the control as a client does (in float32), edit it, and give it back."""
    fields = as_client(vehicle.physics_control.fields)
    edit(fields)
    vehicle.change_physics(PhysicsControl.from_wire(fields, vehicle.wheels))
    return vehicle


def as_client(value):
    if isinstance(value, list | tuple):
        return [as_client(item) for item in value]
    return struct.unpack("<f", struct.pack("<f", value))[0] if isinstance(value, float) else value


def drive(vehicle, ground, ticks, throttle=0.0, steer=0.0, brake=0.0):
    vehicle.apply_control((throttle, steer, brake, False, False, False, 0))
    for _ in range(ticks):
        vehicle.step(ground, STEP_S)
    return vehicle


def speed_of(vehicle):
    return math.hypot(*vehicle.velocity[:2])


def set_wheels(index, value):
    def edit(fields):
        for wheel in fields[WHEELS]:
            wheel[index] = value

    return edit


def set_field(index, value):
    def edit(fields):
        fields[index] = value

    return edit


@pytest.mark.parametrize("name", VEHICLES)
def test_what_comes_back_unchanged_changes_nothing(name):
    vehicle = car(name)
    before = vehicle.parameters
    assert change(vehicle, lambda fields: None).parameters == before
    assert len(vehicle.physics_control.fields[WHEELS]) == VEHICLES[name].wheels


def test_half_the_engine_pulls_half_as_hard(pad):
    def halved(fields):
        fields[0] = [[rpm, 0.5 * newton_m] for rpm, newton_m in fields[0]]

    stock, weak = car(), change(car(), halved)
    drive(stock, pad, 10, throttle=0.5)
    drive(weak, pad, 10, throttle=0.5)
    assert speed_of(weak) + ROLLED == pytest.approx(0.5 * (speed_of(stock) + ROLLED), rel=0.01)
    assert weak.parameters.drive_power_w == pytest.approx(0.5 * stock.parameters.drive_power_w)


def test_twice_the_mass_accelerates_half_as_fast(pad):
    stock, heavy = car(), change(car(), set_field(MASS, 3690.0))
    drive(stock, pad, 10, throttle=0.4)
    drive(heavy, pad, 10, throttle=0.4)
    assert speed_of(heavy) + ROLLED == pytest.approx(0.5 * (speed_of(stock) + ROLLED), rel=0.01)
    before = heavy.velocity[0]
    heavy.push((3690.0, 0.0, 0.0))
    assert heavy.velocity[0] == pytest.approx(before + 1.0)


def test_slippery_tyres_brake_longer(pad):
    distances = []
    for friction in (3.5, 1.4):
        vehicle = change(car(speed=20.0), set_wheels(0, friction))
        drive(vehicle, pad, 200, brake=1.0)
        distances.append(vehicle.pose[0] - 100.0)
    assert distances[1] == pytest.approx(distances[0] / 0.4, rel=0.1)  # v^2 / 2 a


def test_less_steering_angle_turns_wider(pad):
    rates = []
    for angle in (35.0, 10.0):
        vehicle = change(car(speed=2.0), set_wheels(2, angle))
        drive(vehicle, pad, 20, throttle=0.03, steer=1.0)
        rates.append(vehicle.model.motion()[2] / vehicle.model.forward_mps)
    assert rates[1] / rates[0] == pytest.approx(math.tan(math.radians(10.0)) / math.tan(math.radians(35.0)), rel=0.05)


def test_the_steering_curve_counts_at_its_speed(pad):
    vehicle = change(car(speed=10.0), set_field(14, [[0.0, 1.0], [72.0, 0.0]]))
    drive(vehicle, pad, 2, steer=1.0)
    assert vehicle.control[1] == 1.0  # what a client reads back
    slow_rad = drive(car(speed=10.0), pad, 2, steer=0.5).model.steer_rad
    assert vehicle.model.steer_rad == pytest.approx(slow_rad, rel=0.02)


def test_drag_and_gears_set_the_top_speed(pad):
    draggy = change(car(speed=50.0), set_field(12, 5.0))
    drive(draggy, pad, 40)
    assert speed_of(draggy) < speed_of(drive(car(speed=50.0), pad, 40)) - 10.0
    short = change(car(), set_field(9, 36.0))  # four times the final ratio
    assert short.parameters.speed_max_mps == pytest.approx(64.7 / 4.0)
    assert short.parameters.drive_force_n == pytest.approx(4.0 * 12_500.0)


def test_the_centre_of_mass_moves_the_axles():
    vehicle = change(car(), lambda fields: fields[13].__setitem__(0, fields[13][0] + 0.25))
    assert vehicle.parameters.front_axle_m == pytest.approx(1.52 - 0.25, abs=1e-6)
    assert vehicle.parameters.rear_axle_m == pytest.approx(1.355 + 0.25, abs=1e-6)


@pytest.mark.parametrize("edit", [set_field(MASS, 0.0), set_field(WHEELS, []), set_field(0, [[1.0]])])
def test_impossible_physics_are_refused(edit):
    with pytest.raises(WireError):
        change(car(), edit)


wild = st.floats(-(2.0**120), 2.0**120, width=32)


@settings(max_examples=60, deadline=None)
@given(
    numbers=st.lists(wild, min_size=10, max_size=10),
    mass=st.floats(1.0, 1e6, width=32),
    wheel=st.lists(wild, min_size=9, max_size=9),
    curve=st.lists(st.tuples(wild, wild), max_size=4),
)
def test_no_physics_break_the_vehicle(pad, numbers, mass, wheel, curve):
    vehicle = car(speed=10.0)

    def edit(fields):
        for index, number in zip((1, 2, 3, 4, 5, 7, 8, 9, 12), numbers, strict=False):
            fields[index] = number
        fields[MASS], fields[0], fields[14], fields[10] = mass, curve, curve, [[numbers[9], 0.0, 1.0]]
        fields[13] = numbers[:3]
        for target in fields[WHEELS]:
            target[:9] = wheel

    change(vehicle, lambda fields: edit(fields) or fields.__setitem__(slice(None), as_client(fields)))
    drive(vehicle, pad, 4, throttle=1.0, steer=1.0)
    drive(vehicle, pad, 2, brake=1.0, steer=-1.0)
    assert all(math.isfinite(number) for number in (*vehicle.pose, *vehicle.velocity))
    assert speed_of(vehicle) < 300.0


# ---- Ackermann control ----


@pytest.mark.parametrize("speed", [8.0, -4.0, 0.0])
def test_ackermann_reaches_the_speed_and_keeps_it(pad, speed):
    vehicle = car(speed=5.0)
    vehicle.apply_ackermann((0.0, 0.0, speed, 0.0, 0.0))
    for _ in range(200):
        vehicle.step(pad, STEP_S)
    assert vehicle.model.forward_mps == pytest.approx(speed, abs=0.15)


def test_ackermann_turns_the_wheels_as_far_and_as_fast_as_told(pad):
    vehicle = car(speed=5.0)
    vehicle.apply_ackermann((0.2, 0.1, 5.0, 0.0, 0.0))
    for _ in range(20):
        vehicle.step(pad, STEP_S)
    assert 0.07 < vehicle.model.steer_rad < 0.1  # one second at 0.1 rad/s, behind the lag of the steering
    for _ in range(60):
        vehicle.step(pad, STEP_S)
    assert vehicle.model.steer_rad == pytest.approx(0.2, abs=0.002)


def test_ackermann_accelerates_no_harder_than_told(pad):
    vehicle = car()
    vehicle.apply_ackermann((0.0, 0.0, 20.0, 1.0, 0.0))
    for _ in range(60):
        vehicle.step(pad, STEP_S)
    assert speed_of(vehicle) == pytest.approx(3.0 - 0.2, abs=0.25)  # the engine follows 0.2 s late


def test_a_pedal_ends_ackermann_control(pad):
    vehicle = car(speed=5.0)
    vehicle.apply_ackermann((0.0, 0.0, 20.0, 0.0, 0.0))
    vehicle.step(pad, STEP_S)
    assert vehicle.control[0] > 0.0
    drive(vehicle, pad, 1)
    assert vehicle.control[0] == 0.0
