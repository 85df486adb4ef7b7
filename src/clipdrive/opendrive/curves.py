"""The five shapes of an OpenDRIVE reference line: line, arc, spiral, poly3, paramPoly3."""

from __future__ import annotations

import numpy as np

from clipdrive.opendrive.network import Geometry

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_TABLE_STEP_M = 0.5


def follow(geometry: Geometry, ds_m: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x, y, heading and curvature, each (n,), at the arc lengths `ds_m` (n,) from the geometry's start."""
    u, v, turned, curvature = _SHAPES[geometry.kind](geometry, ds_m)
    cosine, sine = np.cos(geometry.heading_rad), np.sin(geometry.heading_rad)
    x = geometry.x_m + cosine * u - sine * v
    y = geometry.y_m + sine * u + cosine * v
    return x, y, geometry.heading_rad + turned, curvature


def _line(geometry: Geometry, ds):
    zeros = np.zeros_like(ds)
    return ds, zeros, zeros, zeros


def _arc(geometry: Geometry, ds):
    (curvature,) = geometry.parameters
    turned = curvature * ds
    half = 0.5 * turned
    chord = ds * np.sinc(half / np.pi)  # 2 sin(half) / curvature, without the division by zero
    return chord * np.cos(half), chord * np.sin(half), turned, np.full_like(ds, curvature)


def _spiral(geometry: Geometry, ds):
    start, end = geometry.parameters
    rate = (end - start) / geometry.length_m if geometry.length_m > 0.0 else 0.0
    u, v = clothoid(start, rate, ds)
    return u, v, ds * (start + 0.5 * rate * ds), start + rate * ds


def clothoid(curvature: float, rate: float, ds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """u and v (n,) after `ds` (n,) along curvature + rate s, from the origin along u (Gauss-Legendre)."""
    longest = float(np.max(np.abs(ds), initial=0.0))
    turning = longest * (abs(curvature) + abs(rate) * longest)
    panels = 1 + int(turning)
    places = ((np.arange(panels)[:, None] + 0.5 * (_NODES + 1.0)) / panels).ravel()  # in [0, 1]
    weights = np.tile(0.5 * _WEIGHTS / panels, panels)
    along = ds[:, None] * places  # (n, panels * nodes)
    angle = along * (curvature + 0.5 * rate * along)
    return ds * (np.cos(angle) @ weights), ds * (np.sin(angle) @ weights)


def _poly3(geometry: Geometry, ds):
    a, b, c, d = geometry.parameters
    u_of, v_of = np.array([0.0, 1.0, 0.0, 0.0]), np.array([a, b, c, d])
    p = _parameter_at(u_of, v_of, geometry.length_m, ds)
    return _polynomial_curve(u_of, v_of, p)


def _param_poly3(geometry: Geometry, ds):
    u_of, v_of = np.array(geometry.parameters[:4]), np.array(geometry.parameters[4:8])
    p_end = geometry.parameters[8]
    total = _arc_length(u_of, v_of, np.array([0.0]), np.array([p_end]))[0]
    if total <= 0.0 or geometry.length_m <= 0.0:
        return _polynomial_curve(u_of, v_of, np.zeros_like(ds))
    # The stated length and the curve's own differ by rounding: the stated end must be the curve's end.
    p = _parameter_at(u_of, v_of, p_end, ds * (total / geometry.length_m))
    return _polynomial_curve(u_of, v_of, p)


def _polynomial_curve(u_of, v_of, p):
    powers = p[:, None] ** np.arange(4)
    first = np.arange(1, 4) * powers[:, :3]
    second = np.array([2.0, 6.0]) * powers[:, :2]
    du, dv = first @ u_of[1:], first @ v_of[1:]
    ddu, ddv = second @ u_of[2:], second @ v_of[2:]
    speed = np.maximum(np.hypot(du, dv), 1e-12)
    return powers @ u_of, powers @ v_of, np.arctan2(dv, du), (du * ddv - dv * ddu) / speed**3


def _arc_length(u_of, v_of, p_from, p_to):
    """Lengths (n,) of the polynomial curve between two parameters each (Gauss-Legendre in panels)."""
    panels = 16
    places = ((np.arange(panels)[:, None] + 0.5 * (_NODES + 1.0)) / panels).ravel()
    weights = np.tile(0.5 * _WEIGHTS / panels, panels)
    p = p_from[:, None] + (p_to - p_from)[:, None] * places
    powers = np.arange(1, 4) * p[..., None] ** np.arange(3)
    return (p_to - p_from) * (np.hypot(powers @ u_of[1:], powers @ v_of[1:]) @ weights)


def _parameter_at(u_of, v_of, p_end: float, ds):
    """The parameter p (n,) at which the polynomial curve is `ds` (n,) long: a table, then Newton's steps."""
    panels = max(16, int(np.max(np.abs(ds), initial=0.0) / _TABLE_STEP_M))
    table_p = np.linspace(0.0, p_end, panels + 1)
    steps = _arc_length(u_of, v_of, table_p[:-1], table_p[1:])
    table_s = np.concatenate(([0.0], np.cumsum(steps)))
    p = np.interp(ds, table_s, table_p)
    panel = np.clip(np.searchsorted(table_s, ds, side="right") - 1, 0, panels - 1)
    for _ in range(3):
        reached = table_s[panel] + _arc_length(u_of, v_of, table_p[panel], p)
        first = np.arange(1, 4) * p[:, None] ** np.arange(3)
        speed = np.maximum(np.hypot(first @ u_of[1:], first @ v_of[1:]), 1e-12)
        p = np.clip(p + (ds - reached) / speed, 0.0, p_end)
    return p


_SHAPES = {"line": _line, "arc": _arc, "spiral": _spiral, "poly3": _poly3, "paramPoly3": _param_poly3}
