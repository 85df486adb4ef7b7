"""Kernel of the vehicle: the single-track model with a brush tyre, actuator lags, slopes and walls.

Body axes: forward u, sideways v (right), yaw rate r (right), at the centre of gravity. The tyre is Fiala's brush
model with one friction coefficient (R. Rajamani, Vehicle Dynamics and Control, 2nd ed., section 13.7); its lateral
force fits into what the longitudinal one leaves of the friction circle. Below walking speed slip angles lose
their meaning, and the car follows its wheels (kinematic single-track model), blended so that nothing jumps.
"""

from __future__ import annotations

import math

from clipdrive.carla_server.raster import bilinear, kernel

STATE_SIZE = 14
(X, Y, Z, PITCH, YAW, ROLL, FORWARD, SIDEWAYS, UPWARD, YAW_RATE, STEER, DRIVE, BRAKE, AHEAD) = range(STATE_SIZE)
(MASS, INERTIA, FRONT, REAR, CG_HEIGHT, GRIP, FRONT_STIFFNESS, REAR_STIFFNESS, DRIVE_FORCE, DRIVE_POWER,
 DRIVE_FRONT, REVERSE_MAX, SPEED_MAX, BRAKE_FORCE, ROLLING, DRAG_AREA, STEER_MAX, STEER_LAG, DRIVE_LAG, BRAKE_LAG,
 HALF_LENGTH, HALF_WIDTH, HALF_HEIGHT, WALL_FRICTION) = range(24)  # fields of VehicleParameters  # fmt: skip
REPORT_SIZE, PUSHES = 6, 8  # the report has room for the corners' impulses behind it
CONTACT_ROUNDS = 8
HIT, IMPULSE_X, IMPULSE_Y, FELT_X, FELT_Y, FELT_Z = range(REPORT_SIZE)

GRAVITY_MPS2 = 9.81
AIR_KGPM3 = 1.225
KINEMATIC_BELOW_MPS, DYNAMIC_ABOVE_MPS = 1.0, 3.0
KINEMATIC_LAG_S = 0.02
LOAD_LAG_S = 0.05  # of load transfer behind the acceleration
ANTI_LOCK = 0.95  # share of the grip that brake and drive may use
TYRE_TRAVEL_M = 0.3  # tyres this far above the ground still have grip
GLUED_M = 0.02  # a car so little above the ground stays on it
_STILL_MPS = 1e-3
_MANY = 1e6


@kernel
def advance(state, controls, car, report, substeps, dt, edge, relief, place, hit_acceleration):
    """Advance `state` by `substeps` of `dt` seconds; `report` gets impacts and acceleration (FELT): its mean, or
    that of the substep of the hardest hit.

    `controls`: throttle, steer, brake, hand brake, reverse; `car`: VehicleParameters in their order; `edge`, `relief`
    and `place`: of GroundMap. A contact that accelerates the car by more than `hit_acceleration` is a hit.
    """
    report[:] = 0.0
    to_steer, to_drive = -math.expm1(-dt / car[STEER_LAG]), -math.expm1(-dt / car[DRIVE_LAG])
    to_brake, to_load = -math.expm1(-dt / car[BRAKE_LAG]), -math.expm1(-dt / LOAD_LAG_S)
    throttle = -controls[0] if controls[4] > 0.0 else controls[0]
    peak = hit_acceleration
    first_x, first_y = world_velocity(state)
    first_z = state[UPWARD]
    for _ in range(substeps):
        state[STEER] += to_steer * (controls[1] * car[STEER_MAX] - state[STEER])
        state[DRIVE] += to_drive * (throttle - state[DRIVE])
        state[BRAKE] += to_brake * (controls[2] - state[BRAKE])
        old_x, old_y = world_velocity(state)
        rise_ahead, rise_right = lie_on_ground(state, car, dt, relief, place)
        accelerate(state, car, controls[3] > 0.0, rise_ahead, rise_right, to_load, dt)
        state[YAW] += 0.5 * state[YAW_RATE] * dt
        vx, vy = world_velocity(state)
        state[X] += vx * dt
        state[Y] += vy * dt
        state[YAW] += 0.5 * state[YAW_RATE] * dt
        if place[6] > 0.0:
            impulse_x, impulse_y = meet_walls(state, car, edge, place, report[REPORT_SIZE:])
            if impulse_x != 0.0 or impulse_y != 0.0:
                # What the body feels over this substep: the wall and, before it, the tyres.
                vx, vy = world_velocity(state)
                ax, ay = (vx - old_x) / dt, (vy - old_y) / dt
                if math.hypot(ax, ay) > hit_acceleration:
                    report[HIT] = 1.0
                    report[IMPULSE_X] += impulse_x
                    report[IMPULSE_Y] += impulse_y
                    if math.hypot(ax, ay) > peak:
                        peak = math.hypot(ax, ay)
                        report[FELT_X], report[FELT_Y] = ax, ay
    state[YAW] -= 2.0 * math.pi * math.floor(state[YAW] / (2.0 * math.pi) + 0.5)
    if report[HIT] == 0.0:
        vx, vy = world_velocity(state)
        time = substeps * dt
        report[FELT_X], report[FELT_Y] = (vx - first_x) / time, (vy - first_y) / time
        report[FELT_Z] = (state[UPWARD] - first_z) / time


@kernel
def world_velocity(state):
    """Velocity (x, y) in the world's axes."""
    c, s = math.cos(state[YAW]), math.sin(state[YAW])
    return state[FORWARD] * c - state[SIDEWAYS] * s, state[FORWARD] * s + state[SIDEWAYS] * c


@kernel
def accelerate(state, car, hand_brake, rise_ahead, rise_right, to_load, dt):
    """Change the velocities by the forces of one substep."""
    mass, inertia, front, rear, grip = car[MASS], car[INERTIA], car[FRONT], car[REAR], car[GRIP]
    u, v, r = state[FORWARD], state[SIDEWAYS], state[YAW_RATE]
    sin, cos = math.sin(state[STEER]), math.cos(state[STEER])
    base = front + rear
    tilt = 1.0 + rise_ahead * rise_ahead + rise_right * rise_right
    gravity_u, gravity_v = -GRAVITY_MPS2 * rise_ahead / tilt, -GRAVITY_MPS2 * rise_right / tilt
    weight = mass * GRAVITY_MPS2 / math.sqrt(tilt)
    if rise_ahead > _MANY:  # in the air: no tyre touches the ground
        gravity_u = gravity_v = weight = 0.0
    shift = mass * state[AHEAD] * car[CG_HEIGHT]
    front_load = min(max((weight * rear - shift) / base, 0.0), weight)
    rear_load = weight - front_load
    front_grip, rear_grip = grip * front_load, grip * rear_load

    # Along the wheels: drive (limited by power and grip) and what resists rolling (never turns the car back).
    speed = abs(u)
    drive = state[DRIVE] * min(car[DRIVE_FORCE], car[DRIVE_POWER] / max(speed, 1.0))
    if (drive > 0.0 and u > car[SPEED_MAX]) or (drive < 0.0 and u < -car[REVERSE_MAX]):
        drive = 0.0
    limit = ANTI_LOCK * front_grip
    front_drive = min(max(car[DRIVE_FRONT] * drive, -limit), limit)
    front_hold = min(state[BRAKE] * car[BRAKE_FORCE] * front_load / max(weight, 1.0), limit)
    limit = ANTI_LOCK * rear_grip
    rear_drive = min(max((1.0 - car[DRIVE_FRONT]) * drive, -limit), limit)
    rear_hold = min(state[BRAKE] * car[BRAKE_FORCE] * rear_load / max(weight, 1.0), limit)
    backward = 1.0 if u >= 0.0 else -1.0  # sense of the resistance

    # Beside the wheels, each in its own axes.
    front_v = v + front * r
    rear_v = v - rear * r
    used = front_drive - backward * front_hold
    stiffness = car[FRONT_STIFFNESS] * front_load
    front_side = side_force(u * cos + front_v * sin, front_v * cos - u * sin, stiffness, front_grip, used)
    if hand_brake:  # rear wheels locked: sliding friction against the way they go
        rear_drive = 0.0
        slide = math.hypot(u, rear_v)
        rear_hold = rear_grip * (speed / slide if slide > 0.5 else 1.0)
        rear_side = -rear_grip * rear_v / max(slide, 0.5)
    else:
        used = rear_drive - backward * rear_hold
        rear_side = side_force(u, rear_v, car[REAR_STIFFNESS] * rear_load, rear_grip, used)
    drag = 0.5 * AIR_KGPM3 * car[DRAG_AREA] * u * speed

    # Dynamic and kinematic single-track model, blended by speed.
    share = (math.hypot(u, v) - KINEMATIC_BELOW_MPS) / (DYNAMIC_ABOVE_MPS - KINEMATIC_BELOW_MPS)
    share = min(max(share, 0.0), 1.0)
    share = share * share * (3.0 - 2.0 * share)
    if weight == 0.0:
        share = 1.0
    across = front_side * cos + (front_drive - backward * front_hold) * sin  # of the front axle, beside the body
    pushed = u + dt * ((front_drive * cos - share * front_side * sin + rear_drive - drag) / mass + gravity_u)
    held = dt * (front_hold * cos + rear_hold + car[ROLLING] * weight) / mass
    new_u = math.copysign(max(abs(pushed) - held, 0.0), pushed)
    dynamic_v = (across + rear_side) / mass + gravity_v
    dynamic_r = (front * across - rear * rear_side) / inertia
    wheel_r = new_u * sin / (cos * base)
    strongest = grip * GRAVITY_MPS2
    kinematic_v = min(max((wheel_r * rear - v) / KINEMATIC_LAG_S, -strongest), strongest)
    kinematic_r = (wheel_r - r) / KINEMATIC_LAG_S
    new_v = v + dt * (share * dynamic_v + (1.0 - share) * kinematic_v)
    new_r = r + dt * (share * dynamic_r + (1.0 - share) * kinematic_r)
    state[AHEAD] += to_load * ((new_u - u) / dt - gravity_u - state[AHEAD])
    turn = share * new_r * dt  # the body turns under its velocity
    sin, cos = math.sin(turn), math.cos(turn)
    state[FORWARD] = new_u * cos + new_v * sin
    state[SIDEWAYS] = new_v * cos - new_u * sin
    state[YAW_RATE] = new_r
    if new_u == 0.0 and abs(new_v) < _STILL_MPS and abs(new_r) < _STILL_MPS:
        state[SIDEWAYS] = state[YAW_RATE] = 0.0


@kernel
def side_force(rolling, sliding, stiffness, grip, used):
    """Lateral force of an axle whose wheels roll and slide at these speeds, `used` N of `grip` being taken."""
    left = math.sqrt(max(grip * grip - used * used, 0.0))
    if left < 1.0:
        return 0.0
    slip = sliding / max(abs(rolling), 0.3)
    full = 3.0 * left / stiffness  # slip at which the whole contact slides
    if abs(slip) >= full:
        return -math.copysign(left, slip)
    part = slip / full
    return -left * part * (3.0 - 3.0 * abs(part) + part * part)


@kernel
def lie_on_ground(state, car, dt, relief, place):
    """Follow the ground's height; return its slopes ahead and to the right, huge while in the air."""
    flat, x0, y0, per_m, base_z, _, _, _ = place
    rise_ahead = rise_right = 0.0
    floor = base_z
    if not flat:
        x, y = state[X], state[Y]
        c, s = math.cos(state[YAW]), math.sin(state[YAW])
        before = bilinear(relief, x0, y0, per_m, x + car[FRONT] * c, y + car[FRONT] * s)
        behind = bilinear(relief, x0, y0, per_m, x - car[REAR] * c, y - car[REAR] * s)
        half = 0.75 * car[HALF_WIDTH]  # half the track
        right = bilinear(relief, x0, y0, per_m, x - half * s, y + half * c)
        left = bilinear(relief, x0, y0, per_m, x + half * s, y - half * c)
        rise_ahead, rise_right = (before - behind) / (car[FRONT] + car[REAR]), (right - left) / (2.0 * half)
        floor = (before * car[REAR] + behind * car[FRONT]) / (car[FRONT] + car[REAR])
    rate = rise_ahead * state[FORWARD] + rise_right * state[SIDEWAYS]
    if state[Z] - floor <= GLUED_M and state[UPWARD] <= rate + 1.0:
        state[Z], state[UPWARD] = floor, rate
    else:
        state[UPWARD] -= GRAVITY_MPS2 * dt
        state[Z] += state[UPWARD] * dt
        if state[Z] <= floor:
            state[Z], state[UPWARD] = floor, rate
    if state[Z] - floor > TYRE_TRAVEL_M:
        return 2.0 * _MANY, 0.0
    state[PITCH], state[ROLL] = math.atan(rise_ahead), -math.atan(rise_right)
    return rise_ahead, rise_right


@kernel
def meet_walls(state, car, edge, place, pushes):
    """Stop the box's corners at the wall; return the impulse (x, y) that this took. `pushes` (8,) is scratch.

    Impulses of all corners in contact are found together (Gauss-Seidel; a corner may only be pushed off the wall,
    and rubs along it within its friction), so that a car that hits with its whole front is not spun round.
    """
    _, x0, y0, per_m, _, verge, _, _ = place
    mass, inertia, length, width = car[MASS], car[INERTIA], car[HALF_LENGTH], car[HALF_WIDTH]
    total_x = total_y = 0.0
    free = bilinear(edge, x0, y0, per_m, state[X], state[Y]) + verge
    if abs(free) > math.hypot(length, width) + 0.1:
        return total_x, total_y
    side = 1.0 if free >= 0.0 else -1.0
    vx, vy = world_velocity(state)
    r = state[YAW_RATE]
    c, s = math.cos(state[YAW]), math.sin(state[YAW])
    out_x = out_y = 0.0
    pushes[:] = 0.0
    for visit in range(4 * CONTACT_ROUNDS):
        corner = visit % 4
        ahead, right = (length if corner < 2 else -length), (width if corner % 2 == 0 else -width)
        arm_x, arm_y = ahead * c - right * s, ahead * s + right * c
        x, y = state[X] + arm_x, state[Y] + arm_y
        depth = -side * (bilinear(edge, x0, y0, per_m, x, y) + verge)
        if depth <= 0.0:
            continue
        normal_x = bilinear(edge, x0, y0, per_m, x + 0.1, y) - bilinear(edge, x0, y0, per_m, x - 0.1, y)
        normal_y = bilinear(edge, x0, y0, per_m, x, y + 0.1) - bilinear(edge, x0, y0, per_m, x, y - 0.1)
        norm = side * math.hypot(normal_x, normal_y)
        if abs(norm) < 0.02:
            continue
        normal_x, normal_y = normal_x / norm, normal_y / norm
        corner_x, corner_y = vx - r * arm_y, vy + r * arm_x
        toward, along = corner_x * normal_x + corner_y * normal_y, corner_y * normal_x - corner_x * normal_y
        lever, slide = arm_x * normal_y - arm_y * normal_x, arm_x * normal_x + arm_y * normal_y
        before, rubbed = pushes[corner], pushes[4 + corner]
        pushes[corner] = max(before - toward / (1.0 / mass + lever * lever / inertia), 0.0)
        most = car[WALL_FRICTION] * pushes[corner]
        rub = rubbed - along / (1.0 / mass + slide * slide / inertia)
        pushes[4 + corner] = min(max(rub, -most), most)
        push, rub = pushes[corner] - before, pushes[4 + corner] - rubbed
        impulse_x, impulse_y = push * normal_x - rub * normal_y, push * normal_y + rub * normal_x
        vx += impulse_x / mass
        vy += impulse_y / mass
        r += (arm_x * impulse_y - arm_y * impulse_x) / inertia
        total_x += impulse_x
        total_y += impulse_y
        if visit < 4:
            out = min(0.5 * depth, 0.05)
            out_x += out * normal_x
            out_y += out * normal_y
    state[X] += out_x
    state[Y] += out_y
    state[FORWARD], state[SIDEWAYS] = vx * c + vy * s, vy * c - vx * s
    state[YAW_RATE] = r
    return total_x, total_y
