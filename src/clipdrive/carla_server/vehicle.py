"""A car on the ground map: single-track dynamics with tyres that slip, actuators that lag, walls that stop it.

Frame and signs are CARLA's: x forward, y right, z up; yaw, steering and yaw rate positive to the right; pitch up and
roll to the right positive. Position is that of the vehicle's origin: midway along its box, on the ground.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import numpy as np

from clipdrive.carla_server import dynamics
from clipdrive.carla_server.ground import GroundMap

SUBSTEP_MAX_S = 0.0025
HIT_ACCELERATION_MPS2 = 15.0  # a contact is a hit where it accelerates the car by more
_REPORTED_MAX_MPS2 = 14.5  # without a hit
_REPORTED_MIN_MPS2 = 15.5  # with one


class VehicleError(ValueError):
    """A step that cannot be made."""


@dataclass(frozen=True)
class VehicleParameters:
    """What a car is made of; the defaults are a Tesla Model 3 Long Range AWD.

    Sources: CARLA's vehicle.tesla.model3 (mass, box); Tesla's owner's manual (wheelbase 2.875 m, turning circle
    11.6 m, 47 to 48 % of the weight in front) and figures (0 to 100 km/h in 4.4 s, drag coefficient 0.23 on
    2.22 m2, 233 km/h). Estimates: radius of gyration 1.3 m, centre of gravity 0.46 m up (battery in the floor),
    tyre stiffness, lags.
    """

    mass_kg: float = 1845.0
    yaw_inertia_kgm2: float = 3118.0
    front_axle_m: float = 1.52  # from the centre of gravity
    rear_axle_m: float = 1.355
    cg_height_m: float = 0.46
    friction: float = 1.0  # grip of tyres on the road, as a share of the load
    front_stiffness_per_rad: float = 14.0  # cornering stiffness as a share of the load
    rear_stiffness_per_rad: float = 16.0
    drive_force_n: float = 12_500.0  # at full throttle, up to where power limits it
    drive_power_w: float = 258_000.0
    drive_front_share: float = 0.4
    reverse_speed_max_mps: float = 9.0
    speed_max_mps: float = 64.7
    brake_force_n: float = 24_000.0  # at full brake, more than the tyres can hold; anti-lock keeps them rolling
    rolling_resistance: float = 0.01
    drag_area_m2: float = 0.51
    max_steer_rad: float = math.radians(35.0)  # of the front wheels, from the turning circle
    steer_lag_s: float = 0.15
    throttle_lag_s: float = 0.20
    brake_lag_s: float = 0.08
    half_length_m: float = 2.40
    half_width_m: float = 1.08
    half_height_m: float = 0.74
    wall_friction: float = 0.3


class Vehicle:
    """One car; `step` moves it, attributes tell where it is."""

    def __init__(self, parameters: VehicleParameters | None = None) -> None:
        self.parameters = parameters or VehicleParameters()
        self._numbers = np.array(astuple(self.parameters), dtype=np.float64)
        self._state = np.zeros(dynamics.STATE_SIZE)
        self._controls = np.zeros(5)
        self._report = np.zeros(dynamics.REPORT_SIZE + dynamics.PUSHES)
        self.hit: tuple[float, float, float] | None = None
        self.acceleration = (0.0, 0.0, 0.0)

    def change(self, parameters: VehicleParameters) -> None:
        """Go on as another car in the same place, at the same speed."""
        self.parameters = parameters
        self._numbers[:] = astuple(parameters)

    def teleport(
        self, x_m: float, y_m: float, z_m: float, pitch_deg: float, yaw_deg: float, roll_deg: float
    ) -> None:
        """Put the car somewhere else; it keeps its velocity in the world and its yaw rate."""
        vx, vy, vz = self.velocity
        numbers = [_finite(n) for n in (x_m, y_m, z_m, pitch_deg, yaw_deg, roll_deg)]
        self._state[dynamics.X : dynamics.Z + 1] = numbers[:3]
        self._state[dynamics.PITCH : dynamics.ROLL + 1] = [
            math.remainder(math.radians(n), math.tau) for n in numbers[3:]
        ]
        self.set_velocity(vx, vy, vz)

    def reset_state(self) -> None:
        """Forget everything but the pose: velocities, lags of the actuators, controls."""
        self._state[dynamics.ROLL + 1 :] = 0.0
        self._controls[:] = 0.0
        self.acceleration = (0.0, 0.0, 0.0)
        self.hit = None

    def set_velocity(self, vx_mps: float, vy_mps: float, vz_mps: float) -> None:
        """Set the velocity, given in the world's axes."""
        yaw = self._state[dynamics.YAW]
        vx, vy, vz = _finite(vx_mps), _finite(vy_mps), _finite(vz_mps)
        self._state[dynamics.FORWARD] = vx * math.cos(yaw) + vy * math.sin(yaw)
        self._state[dynamics.SIDEWAYS] = vy * math.cos(yaw) - vx * math.sin(yaw)
        self._state[dynamics.UPWARD] = vz

    def set_yaw_rate(self, yaw_rate_rad_s: float) -> None:
        """Set the yaw rate in rad/s, positive to the right."""
        self._state[dynamics.YAW_RATE] = _finite(yaw_rate_rad_s)

    def motion(self) -> tuple[float, float, float]:
        """Velocity (x, y) in the world's axes in m/s, and yaw rate in rad/s."""
        return (*self.velocity[:2], float(self._state[dynamics.YAW_RATE]))

    def knock(self, dvx_mps: float, dvy_mps: float, turn_rad_s: float, out_x_m: float, out_y_m: float) -> None:
        """Change velocity and yaw rate by what a contact did, and step aside."""
        vx, vy, vz = self.velocity
        self.set_velocity(vx + dvx_mps, vy + dvy_mps, vz)
        self._state[dynamics.YAW_RATE] += turn_rad_s
        self._state[dynamics.X] += out_x_m
        self._state[dynamics.Y] += out_y_m

    def feel(self, ax_mps2: float, ay_mps2: float, az_mps2: float) -> None:
        """Report the acceleration of a hit, where it is the hardest of the tick."""
        if math.hypot(ax_mps2, ay_mps2, az_mps2) >= math.hypot(*self.acceleration) or self.hit is None:
            self.acceleration = _scaled(ax_mps2, ay_mps2, az_mps2, low=_REPORTED_MIN_MPS2, high=math.inf)

    def control(
        self, throttle: float, steer: float, brake: float, hand_brake: bool = False, reverse: bool = False
    ) -> None:
        """What the driver asks for until the next call; not finite counts as 0, the rest is clamped."""
        self._controls[:] = (
            min(max(_finite(throttle), 0.0), 1.0),
            min(max(_finite(steer), -1.0), 1.0),
            min(max(_finite(brake), 0.0), 1.0),
            bool(hand_brake),
            bool(reverse),
        )

    def step(self, ground: GroundMap, step_s: float) -> None:
        """Drive on for `step_s` seconds, in substeps of at most 2.5 ms; raises VehicleError."""
        if not 0.0 < step_s <= 10.0:
            raise VehicleError(f"The step is {step_s} s; it must be above 0 and at most 10.")
        substeps = max(1, math.ceil(step_s / SUBSTEP_MAX_S - 1e-9))
        dynamics.advance(
            self._state, self._controls, self._numbers, self._report, substeps, step_s / substeps,
            ground.edge, ground.relief, ground.place, HIT_ACCELERATION_MPS2,
        )  # fmt: skip
        hit, impulse_x, impulse_y, ax, ay, az = self._report[: dynamics.REPORT_SIZE].tolist()
        if hit > 0.0:
            self.hit = (impulse_x, impulse_y, 0.0)
            self.acceleration = _scaled(ax, ay, az, low=_REPORTED_MIN_MPS2, high=math.inf)
        else:
            self.hit = None
            self.acceleration = _scaled(ax, ay, az, low=0.0, high=_REPORTED_MAX_MPS2)

    @property
    def location(self) -> tuple[float, float, float]:
        """x, y, z in metres."""
        return tuple(self._state[dynamics.X : dynamics.Z + 1].tolist())

    @property
    def pose(self) -> tuple[float, float, float, float, float, float]:
        """x, y, z in metres, pitch, yaw, roll in degrees."""
        x, y, z, pitch, yaw, roll = self._state[: dynamics.ROLL + 1].tolist()
        return (x, y, z, math.degrees(pitch), math.degrees(yaw), math.degrees(roll))

    x = property(lambda self: float(self._state[dynamics.X]))
    y = property(lambda self: float(self._state[dynamics.Y]))
    z = property(lambda self: float(self._state[dynamics.Z]))
    pitch_deg = property(lambda self: math.degrees(self._state[dynamics.PITCH]))
    roll_deg = property(lambda self: math.degrees(self._state[dynamics.ROLL]))

    @property
    def yaw_deg(self) -> float:
        """Degrees within -180 .. 180."""
        return math.degrees(self._state[dynamics.YAW])

    @property
    def velocity(self) -> tuple[float, float, float]:
        """m/s in the world's axes."""
        yaw, _, u, v, w = self._state[dynamics.YAW : dynamics.UPWARD + 1].tolist()
        c, s = math.cos(yaw), math.sin(yaw)
        return (u * c - v * s, u * s + v * c, w)

    @property
    def angular_velocity_deg(self) -> tuple[float, float, float]:
        """deg/s about the world's axes; z positive to the right."""
        return (0.0, 0.0, math.degrees(self._state[dynamics.YAW_RATE]))

    @property
    def forward_mps(self) -> float:
        """Speed along the car, backwards negative."""
        return float(self._state[dynamics.FORWARD])

    @property
    def steer_rad(self) -> float:
        """Where the front wheels are, positive to the right."""
        return float(self._state[dynamics.STEER])


def _finite(number: float) -> float:
    number = float(number)
    return number if math.isfinite(number) else 0.0


def _scaled(x: float, y: float, z: float, low: float, high: float) -> tuple[float, float, float]:
    """The vector made at least `low` and at most `high` long."""
    length = math.sqrt(x * x + y * y + z * z)
    if length < 1e-9 or low <= length <= high:
        return (x, y, z)
    factor = (low if length < low else high) / length
    return (x * factor, y * factor, z * factor)
