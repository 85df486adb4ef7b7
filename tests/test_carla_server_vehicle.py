import dataclasses
import math

import numpy as np
import pytest
from vehiclemodels.parameters_vehicle2 import parameters_vehicle2
from vehiclemodels.vehicle_dynamics_st import vehicle_dynamics_st
from vehiclemodels.vehicle_dynamics_std import vehicle_dynamics_std

from carla_server_roads import ground, left_arc, slope_xml, straight
from clipdrive.carla_server import dynamics
from clipdrive.carla_server.vehicle import Vehicle, VehicleError, VehicleParameters

MODEL3 = VehicleParameters()
STEP_S = 0.05
PAD_WIDTH = ((1, 300.0), (-1, 300.0))  # lanes


@pytest.fixture(scope="module")
def pad():
    """A square of asphalt, 600 m wide."""
    return ground(straight(600.0, lanes=PAD_WIDTH), wall_height_m=0.0)


@pytest.fixture(scope="module")
def road():
    """A straight road of 7 m with walls 2.5 m beside it."""
    return ground(straight(600.0))


def placed(x=300.0, y=0.0, yaw=0.0, speed=0.0, parameters=MODEL3):
    """A car on its wheels, going straight ahead."""
    car = Vehicle(parameters)
    car.teleport(x, y, 0.0, 0.0, yaw, 0.0)
    car.set_velocity(speed * math.cos(math.radians(yaw)), speed * math.sin(math.radians(yaw)), 0.0)
    return car


def speed_of(car):
    return math.hypot(*car.velocity[:2])


def held_speed(car, speed, steer, land, seconds, each=None):
    """Drive with a fixed steering and as much throttle or brake as holds the speed."""
    for _ in range(round(seconds / 0.01)):
        want = 4.0 * (speed - speed_of(car))
        car.control(max(want, 0.0), steer, max(-want, 0.0) * 0.2)
        car.step(land, 0.01)
        if each:
            each(car)


# The independent reference: the single-track model of CommonRoad with our masses, lengths and stiffness.


def reference_parameters(car):
    p = parameters_vehicle2()
    p.m, p.I_z, p.a, p.b, p.h_s = car.mass_kg, car.yaw_inertia_kgm2, car.front_axle_m, car.rear_axle_m, car.cg_height_m
    p.tire.p_dy1, p.tire.p_ky1 = 1.0, -car.front_stiffness_per_rad
    return p


def reference_step(state, step, p):
    """One Runge-Kutta step at constant speed and steering."""

    def slope(x):
        return np.array(vehicle_dynamics_st(list(x), [0.0, 0.0], p))

    a = slope(state)
    b = slope(state + 0.5 * step * a)
    c = slope(state + 0.5 * step * b)
    return state + step / 6.0 * (a + 2.0 * b + 2.0 * c + slope(state + step * c))


EVEN = dataclasses.replace(
    MODEL3, front_stiffness_per_rad=15.0, rear_stiffness_per_rad=15.0, rolling_resistance=0.0, drag_area_m2=0.0
)


@pytest.mark.parametrize("speed", [5.0, 10.0, 15.0, 20.0, 30.0])
def test_steady_cornering_turns_as_fast_as_the_reference(pad, speed):
    acceleration = 1.5
    base = EVEN.front_axle_m + EVEN.rear_axle_m
    wheel = math.atan(acceleration / speed**2 * base)
    car = placed(x=200.0, speed=speed, parameters=EVEN)
    held_speed(car, speed, wheel / EVEN.max_steer_rad, pad, 4.0)
    p = reference_parameters(EVEN)
    state = np.array([0.0, 0.0, wheel, speed, 0.0, 0.0, 0.0])
    for _ in range(4000):
        state = reference_step(state, 0.001, p)
    assert math.radians(car.angular_velocity_deg[2]) == pytest.approx(state[5], rel=0.03)
    slip = math.atan2(car._state[dynamics.SIDEWAYS], car._state[dynamics.FORWARD])
    assert slip == pytest.approx(state[6], abs=0.003)


@pytest.mark.parametrize("speed", [8.0, 15.0, 25.0])
def test_a_step_of_the_wheel_is_answered_as_by_the_reference(pad, speed):
    wheel = math.atan(1.5 / speed**2 * 2.875)
    car = placed(x=150.0, speed=speed, parameters=EVEN)
    p = reference_parameters(EVEN)
    state = np.array([0.0, 0.0, 0.0, speed, 0.0, 0.0, 0.0])
    ours, theirs = [], []

    def compare(car):
        nonlocal state
        state[2], state[3] = car.steer_rad, speed_of(car)
        for _ in range(10):
            state = reference_step(state, 0.001, p)
        ours.append(math.radians(car.angular_velocity_deg[2]))
        theirs.append(state[5])

    held_speed(car, speed, wheel / EVEN.max_steer_rad, pad, 2.0, compare)
    assert np.abs(np.array(ours) - theirs).max() < 0.06 * max(theirs)


def test_braking_takes_the_distance_that_grip_and_lag_allow(pad):
    for speed in (10.0, 20.0, 30.0):
        car = placed(x=100.0, speed=speed)
        start = car.x
        car.control(0.0, 0.0, 1.0)
        for _ in range(200):
            car.step(pad, STEP_S)
        assert speed_of(car) == 0.0
        # By hand: the force saturates at 0.95 of the grip after ln(1 / (1 - share)) lags; the rest is v^2 / 2a.
        limit = 0.95 * 9.81
        full = MODEL3.brake_force_n / MODEL3.mass_kg
        wait = -MODEL3.brake_lag_s * math.log(1.0 - limit / full)
        gained = full * (wait - MODEL3.brake_lag_s * (1.0 - math.exp(-wait / MODEL3.brake_lag_s)))
        rest = (speed - gained) ** 2 / (2.0 * (limit + 0.0981))
        assert car.x - start == pytest.approx(speed * wait + rest, rel=0.02)


@pytest.mark.parametrize("deceleration", [4.0, 8.0])
def test_braking_below_the_grip_takes_the_distance_of_the_reference_with_turning_wheels(pad, deceleration):
    at_once = dataclasses.replace(EVEN, brake_lag_s=1e-4)
    car = placed(x=100.0, speed=25.0, parameters=at_once)
    car.control(0.0, 0.0, deceleration * car.parameters.mass_kg / car.parameters.brake_force_n)
    while speed_of(car) > 3.0:
        car.step(pad, 0.005)
    p = reference_parameters(at_once)
    p.T_sb = 0.55  # share of the front brakes: about that of the loads
    state = np.array([0.0, 0.0, 0.0, 25.0, 0.0, 0.0, 0.0, 25.0 / p.R_w, 25.0 / p.R_w])
    while state[3] > 3.0:
        state = state + 2e-4 * np.array(vehicle_dynamics_std(list(state), [0.0, -deceleration], p))
    assert car.x - 100.0 == pytest.approx(state[0], rel=0.03)


def test_full_throttle_reaches_100_kmh_in_the_time_of_the_real_car(pad):
    car = placed(x=20.0)
    car.control(1.0, 0.0, 0.0)
    time = 0.0
    while speed_of(car) < 100.0 / 3.6:
        car.step(pad, 0.01)
        time += 0.01
        assert time < 8.0
    assert 4.2 < time < 5.2


def test_past_its_grip_the_car_slides(pad):
    car = placed(x=200.0, speed=22.0)
    peak, slips = 0.0, []
    for _ in range(60):
        car.control(0.3, 0.6, 0.0)
        car.step(pad, STEP_S)
        peak = max(peak, math.hypot(*car.acceleration[:2]))
        slips.append(abs(math.atan2(car._state[dynamics.SIDEWAYS], car._state[dynamics.FORWARD])))
    wheel_radius = 2.875 / math.tan(0.6 * MODEL3.max_steer_rad)
    radius = speed_of(car) / abs(math.radians(car.angular_velocity_deg[2]))
    assert 8.0 < peak < 10.2, "grip is about 1 g"
    assert radius > 2.0 * wheel_radius, "it goes wide"
    # A yanked wheel with locked rear wheels turns it round.
    car = placed(x=200.0, speed=18.0)
    for _ in range(50):
        car.control(0.0, 0.6, 0.0, hand_brake=True)
        car.step(pad, STEP_S)
    assert abs(car.yaw_deg) > 60.0
    assert max(slips) > 0.02


def test_whatever_is_asked_tyres_never_reach_15_mps2(pad):
    rng = np.random.default_rng(0)
    for trial in range(6):
        car = placed(yaw=rng.uniform(-180, 180), speed=rng.uniform(0.0, 25.0))
        for _ in range(80):
            car.control(*rng.uniform([-0.5, -1.5, -0.5], [1.5, 1.5, 1.5]), rng.random() < 0.2, rng.random() < 0.1)
            car.step(pad, STEP_S)
            assert math.hypot(*car.acceleration) < 14.0, trial
            assert car.hit is None
            assert np.isfinite(car._state).all()


def test_braking_in_a_turn_takes_from_the_side_force(pad):
    def turned(brake):
        car = placed(x=200.0, speed=16.0)
        for _ in range(40):
            car.control(0.2, 0.25, 0.0)
            car.step(pad, STEP_S)
        before = car.angular_velocity_deg[2]
        for _ in range(12):
            car.control(0.0, 0.25, brake)
            car.step(pad, STEP_S)
        return car.angular_velocity_deg[2] / before

    assert turned(1.0) < turned(0.0)


def test_load_transfer_makes_lifted_corners_tighter():
    high = dataclasses.replace(MODEL3, cg_height_m=1.2)
    flat = dataclasses.replace(MODEL3, cg_height_m=0.0)
    land = ground(straight(600.0, lanes=PAD_WIDTH), wall_height_m=0.0)
    rates = []
    for parameters in (high, flat):
        car = placed(x=200.0, speed=18.0, parameters=parameters)
        for k in range(50):
            car.control(0.3 if k < 40 else 0.0, 0.12, 0.0 if k < 40 else 0.3)
            car.step(land, STEP_S)
        rates.append(car.angular_velocity_deg[2])
    assert rates[0] > rates[1] * 1.01


def test_a_standing_car_stands_to_the_last_bit(pad):
    car = placed(x=123.4, y=5.6, yaw=33.0)
    before = car._state.copy()
    for steer in (0.0, 1.0, -1.0):
        for _ in range(50):
            car.control(0.0, steer, 0.0)
            car.step(pad, STEP_S)
            assert car.velocity == (0.0, 0.0, 0.0) and car.acceleration == (0.0, 0.0, 0.0)
    np.testing.assert_array_equal(car._state[:10], before[:10])


def test_braking_ends_at_rest_without_a_jolt_back(pad):
    car = placed(speed=8.0)
    car.control(0.0, 0.4, 1.0)
    along = [speed_of(car)]
    for _ in range(100):
        car.step(pad, STEP_S)
        along.append(car._state[dynamics.FORWARD])
    assert min(along) == 0.0 and along[-1] == 0.0
    assert np.all(np.diff(along) <= 1e-9)
    assert car.velocity == (0.0, 0.0, 0.0) and car.angular_velocity_deg == (0.0, 0.0, 0.0)


def test_walking_pace_follows_the_wheels_and_nothing_jumps_on_the_way_up(pad):
    car = placed()
    rates, curvatures = [], []
    for _ in range(400):
        car.control(0.16, 0.4, 0.0)
        car.step(pad, 0.01)
        rates.append(math.radians(car.angular_velocity_deg[2]))
        if 0.2 < speed_of(car) < 0.9:
            curvatures.append(rates[-1] / car._state[dynamics.FORWARD])
    assert speed_of(car) > 3.5
    settled = np.array(curvatures[-20:])
    np.testing.assert_allclose(settled, math.tan(0.4 * MODEL3.max_steer_rad) / 2.875, rtol=0.05)
    assert np.abs(np.diff(rates)).max() < 0.02
    assert np.abs(np.diff(np.diff(rates))).max() < 0.005


def test_reverse_goes_back_turns_the_other_way_and_has_its_top_speed(pad):
    car = placed()
    for _ in range(30):
        car.control(0.3, 0.0, 0.0, reverse=True)
        car.step(pad, STEP_S)
    assert car.velocity[0] < -1.0
    for _ in range(20):
        car.control(0.3, 0.5, 0.0, reverse=True)
        car.step(pad, STEP_S)
    assert car.angular_velocity_deg[2] < -3.0
    car = placed()
    for _ in range(150):
        car.control(1.0, 0.0, 0.0, reverse=True)
        car.step(pad, STEP_S)
    assert car.velocity[0] == pytest.approx(-MODEL3.reverse_speed_max_mps, abs=0.3)


def test_controls_that_are_not_finite_or_out_of_range_are_tamed(pad):
    wild, tame = placed(speed=5.0), placed(speed=5.0)
    wild.control(math.nan, -math.inf, 7.0)
    tame.control(0.0, 0.0, 1.0)
    for car in (wild, tame):
        car.step(pad, STEP_S)
    np.testing.assert_array_equal(wild._state, tame._state)
    wild.teleport(math.nan, 0.0, 0.0, 0.0, math.inf, 0.0)
    wild.set_velocity(math.nan, 0.0, 0.0)
    wild.set_yaw_rate(math.inf)
    wild.step(pad, STEP_S)
    assert np.isfinite(wild._state).all()


def test_teleport_keeps_the_velocity_in_the_world_and_reset_forgets_everything_else(pad):
    car = placed(speed=12.0)
    car.control(1.0, 1.0, 0.0)
    car.step(pad, STEP_S)
    velocity, rate = car.velocity, car.angular_velocity_deg
    car.teleport(100.0, 50.0, 0.0, 0.0, 90.0, 0.0)
    np.testing.assert_allclose(car.velocity, velocity, atol=1e-9)
    assert car.angular_velocity_deg == rate and (car.x, car.y, car.yaw_deg) == (100.0, 50.0, 90.0)
    car.reset_state()
    assert car.velocity == (0.0, 0.0, 0.0) and car.acceleration == (0.0, 0.0, 0.0) and car.steer_rad == 0.0
    assert (car.x, car.y, car.yaw_deg) == (100.0, 50.0, 90.0)
    fresh = Vehicle()
    fresh.teleport(100.0, 50.0, 0.0, 0.0, 90.0, 0.0)
    for vehicle in (car, fresh):
        vehicle.set_velocity(3.0, 4.0, 0.0)
        vehicle.set_yaw_rate(0.1)
        vehicle.control(0.5, 0.2, 0.0)
        vehicle.step(pad, STEP_S)
    np.testing.assert_array_equal(car._state, fresh._state)


def test_the_same_inputs_give_the_same_bits(road):
    def driven():
        car, rng, trace = placed(x=50.0), np.random.default_rng(3), []
        for _ in range(200):
            car.control(*rng.uniform([0.0, -0.4, 0.0], [1.0, 0.4, 0.2]))
            car.step(road, STEP_S)
            trace.append((*car.location, *car.velocity, *car.acceleration, car.hit))
        return trace

    assert driven() == driven()


def test_two_half_steps_are_one_step(pad):
    one, two = placed(speed=15.0), placed(speed=15.0)
    for car in (one, two):
        car.control(0.4, 0.2, 0.0)
    one.step(pad, 0.05)
    two.step(pad, 0.025)
    two.step(pad, 0.025)
    np.testing.assert_allclose(one._state, two._state, rtol=0.0, atol=1e-9)
    with pytest.raises(VehicleError, match="0.0 s"):
        one.step(pad, 0.0)


# Walls


def corners(car):
    c, s = math.cos(math.radians(car.yaw_deg)), math.sin(math.radians(car.yaw_deg))
    return [
        (car.x + a * c - b * s, car.y + a * s + b * c)
        for a in (2.4, -2.4)
        for b in (1.08, -1.08)
    ]


def test_head_on_into_a_wall_takes_all_momentum_and_says_so(road):
    for speed in (3.0, 10.0, 25.0):
        car = placed(x=300.0, y=-2.0, yaw=90.0, speed=speed)
        impulse, hits = 0.0, 0
        for _ in range(80):
            car.step(road, STEP_S)
            if car.hit is not None:
                hits += 1
                impulse -= car.hit[1]
                assert math.hypot(*car.acceleration) > 15.0
        assert hits == 1
        assert impulse == pytest.approx(1845.0 * speed, rel=0.1)
        assert speed_of(car) < 0.05 * speed
        assert max(y for _, y in corners(car)) == pytest.approx(6.0, abs=0.05)


def test_a_hit_is_reported_exactly_when_the_acceleration_says_so(road):
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(12):
        car = placed(x=300.0, y=rng.uniform(-2, 2), yaw=rng.uniform(-180, 180), speed=rng.uniform(0.0, 20.0))
        for _ in range(100):
            car.control(*rng.uniform([0.0, -1.0, 0.0], [1.0, 1.0, 0.3]), reverse=rng.random() < 0.1)
            car.step(road, STEP_S)
            big = float(np.linalg.norm(np.float32(car.acceleration)))
            assert (big > 15.0) == (car.hit is not None)
            hits += car.hit is not None
            assert max(abs(y) for _, y in corners(car)) < 6.12
    assert hits > 10


def test_a_glancing_touch_keeps_most_of_the_speed_and_turns_the_car_along_the_wall(road):
    car = placed(x=100.0, y=0.0, yaw=8.0, speed=15.0)
    seen = False
    for _ in range(100):
        car.step(road, STEP_S)
        seen |= car.hit is not None
    assert seen
    assert 10.0 < speed_of(car) < 15.0
    assert car.yaw_deg < 6.0


def test_nothing_goes_through_a_wall_however_fast(road):
    for speed in (40.0, 60.0):
        for yaw in (30.0, 90.0, -60.0):
            car = placed(x=300.0, yaw=yaw, speed=speed)
            for _ in range(60):
                car.step(road, STEP_S)
                assert abs(car.y) < 6.0


def test_leaning_on_a_wall_is_not_a_hit_every_frame(road):
    car = placed(x=300.0, y=3.0, yaw=90.0, speed=0.0)
    hits = 0
    for _ in range(100):
        car.control(0.5, 0.0, 0.0)
        car.step(road, STEP_S)
        hits += car.hit is not None
    assert hits <= 2
    assert speed_of(car) < 0.05


def test_walls_of_bends_and_of_a_road_that_ends():
    bend = ground(left_arc(radius=15.0, angle=3.0))
    car = placed(x=2.0, speed=14.0)
    hit = False
    for _ in range(80):
        car.control(0.2, 0.0, 0.0)
        car.step(bend, STEP_S)
        hit |= car.hit is not None
        assert bend.wall_clearance(car.x, car.y) > 0.5
    assert hit
    end = ground(straight(100.0))
    car = placed(x=70.0, speed=15.0)
    for _ in range(80):
        car.step(end, STEP_S)
    assert car.x + 2.4 < 103.0


# Hills


def test_the_car_lies_on_the_slope_and_gravity_pulls_it_down():
    wide = ((1, 20.0), (-1, 20.0))
    hill = ground(straight(400.0, elevation=slope_xml(0.0, 0.0, 0.08), lanes=wide), wall_height_m=0.0)
    car = placed(x=200.0)
    car.teleport(200.0, 0.0, 16.0, 0.0, 0.0, 0.0)
    car.control(0.0, 0.0, 0.0)
    for _ in range(40):
        car.step(hill, STEP_S)
    assert car.z == pytest.approx(0.08 * car.x, abs=0.01)
    assert car.pitch_deg == pytest.approx(math.degrees(math.atan(0.08)), abs=0.1)
    rolling = 9.81 * (0.08 / (1 + 0.08**2) - 0.01)
    assert car.velocity[0] == pytest.approx(-2.0 * rolling, rel=0.03)
    assert car.velocity[2] == pytest.approx(0.08 * car.velocity[0], rel=0.05)
    # Across the slope: the ground rises to the left when driving towards -y ... here it rises along +x, the right.
    car.reset_state()
    car.teleport(200.0, 0.0, 16.0, 0.0, -90.0, 0.0)
    car.control(0.0, 0.0, 1.0)
    car.step(hill, STEP_S)
    assert car.roll_deg == pytest.approx(-math.degrees(math.atan(0.08)), abs=0.1), "right side up: negative roll"


@pytest.mark.parametrize("control", [dict(brake=1.0), dict(brake=0.0, hand_brake=True)])
def test_brakes_hold_on_a_hill(control):
    hill = ground(straight(200.0, elevation=slope_xml(0.0, 0.0, 0.15)), wall_height_m=0.0)
    car = placed(x=100.0)
    car.teleport(100.0, 0.0, 15.0, 0.0, 0.0, 0.0)
    car.control(0.0, 0.0, control["brake"], control.get("hand_brake", False))
    for _ in range(10):
        car.step(hill, STEP_S)
    x = car.x
    for _ in range(100):
        car.step(hill, STEP_S)
    assert car.x == x and car.velocity == (0.0, 0.0, 0.0)


def test_a_car_put_into_the_air_falls_and_one_below_the_ground_comes_up(pad):
    car = placed()
    car.teleport(300.0, 0.0, 2.0, 0.0, 0.0, 0.0)
    time = 0.0
    while car.z > 0.0:
        car.step(pad, 0.01)
        time += 0.01
    assert time == pytest.approx(math.sqrt(2 * 2.0 / 9.81), abs=0.03)
    car.teleport(300.0, 0.0, -1.0, 0.0, 0.0, 0.0)
    car.step(pad, 0.01)
    assert car.z == 0.0 and math.hypot(*car.acceleration) < 15.0


def test_in_the_air_there_is_no_grip(pad):
    car = placed(speed=10.0)
    car.teleport(300.0, 0.0, 5.0, 0.0, 0.0, 0.0)
    car.control(0.0, 1.0, 1.0)
    for _ in range(8):
        car.step(pad, STEP_S)
    assert car.velocity[0] == pytest.approx(10.0, abs=0.05)
    assert car.angular_velocity_deg[2] == 0.0


def test_the_kernel_names_the_parameters_in_their_order():
    short = [
        "mass_kg", "yaw_inertia_kgm2", "front_axle_m", "rear_axle_m", "cg_height_m", "friction",
        "front_stiffness_per_rad", "rear_stiffness_per_rad", "drive_force_n", "drive_power_w", "drive_front_share",
        "reverse_speed_max_mps", "speed_max_mps", "brake_force_n", "rolling_resistance", "drag_area_m2",
        "max_steer_rad", "steer_lag_s", "throttle_lag_s", "brake_lag_s", "half_length_m", "half_width_m",
        "half_height_m", "wall_friction",
    ]  # fmt: skip
    assert [field.name for field in dataclasses.fields(VehicleParameters)] == short
    places = [
        dynamics.MASS, dynamics.INERTIA, dynamics.FRONT, dynamics.REAR, dynamics.CG_HEIGHT, dynamics.GRIP,
        dynamics.FRONT_STIFFNESS, dynamics.REAR_STIFFNESS, dynamics.DRIVE_FORCE, dynamics.DRIVE_POWER,
        dynamics.DRIVE_FRONT, dynamics.REVERSE_MAX, dynamics.SPEED_MAX, dynamics.BRAKE_FORCE, dynamics.ROLLING,
        dynamics.DRAG_AREA, dynamics.STEER_MAX, dynamics.STEER_LAG, dynamics.DRIVE_LAG, dynamics.BRAKE_LAG,
        dynamics.HALF_LENGTH, dynamics.HALF_WIDTH, dynamics.HALF_HEIGHT, dynamics.WALL_FRICTION,
    ]  # fmt: skip
    assert places == list(range(24))


def test_actuators_lag_as_they_say(pad):
    car = placed(speed=10.0)
    car.control(0.0, 1.0, 0.0)
    for _ in range(3):
        car.step(pad, STEP_S)
    assert car.steer_rad == pytest.approx(MODEL3.max_steer_rad * (1 - math.exp(-0.15 / 0.15)), rel=1e-6)


def test_steering_right_turns_right(pad):
    car = placed(speed=10.0)
    for _ in range(20):
        car.control(0.3, 0.2, 0.0)
        car.step(pad, STEP_S)
    assert car.yaw_deg > 5.0 and car.y > 0.2
