"""Episode settings and weather: what a client sets and reads back."""

from __future__ import annotations

from dataclasses import dataclass

from clipdrive.carla_server import values
from clipdrive.carla_server.values import WireError

MAX_STEP_S = 1.0
DEFAULT_STEP_S = 0.05  # of a synchronous world without a fixed step

# CARLA's ClearNoon: cloudiness, precipitation, deposits, wind, sun azimuth, sun altitude, fog density,
# fog distance, fog falloff, wetness, scattering intensity, Mie scale, Rayleigh scale, dust storm
CLEAR_NOON = (5.0, 0.0, 0.0, 10.0, -1.0, 45.0, 2.0, 0.75, 0.1, 0.0, 1.0, 0.03, 0.0331, 0.0)


@dataclass(frozen=True)
class EpisodeSettings:
    """CARLA's EpisodeSettings; all but the first three are only kept."""

    synchronous_mode: bool = False
    no_rendering_mode: bool = False
    fixed_delta_seconds: float | None = None
    substepping: bool = True
    max_substep_delta_time: float = 0.01
    max_substeps: int = 10
    max_culling_distance: float = 0.0
    deterministic_ragdolls: bool = True
    tile_stream_distance: float = 3000.0
    actor_active_distance: float = 2000.0
    spectator_as_ego: bool = True

    @classmethod
    def from_wire(cls, fields: object) -> EpisodeSettings:
        """Check what a client sent; raises WireError."""
        items = values.array(fields, 11, "settings")
        step_s = values.optional(items[2], "fixed_delta_seconds")
        if step_s is not None:
            step_s = values.number(step_s, name="fixed_delta_seconds") or None
        if step_s is not None and not 1e-4 <= step_s <= MAX_STEP_S:
            raise WireError(f"fixed_delta_seconds: got {step_s:g}, allowed are 0.0001 to {MAX_STEP_S:g} seconds")
        return cls(
            values.boolean(items[0], "synchronous_mode"),
            values.boolean(items[1], "no_rendering_mode"),
            step_s,
            values.boolean(items[3], "substepping"),
            values.number(items[4], name="max_substep_delta_time"),
            values.integer(items[5], -(2**31), 2**31 - 1, "max_substeps"),
            values.number(items[6], name="max_culling_distance"),
            values.boolean(items[7], "deterministic_ragdolls"),
            values.number(items[8], name="tile_stream_distance"),
            values.number(items[9], name="actor_active_distance"),
            values.boolean(items[10], "spectator_as_ego"),
        )

    def to_wire(self) -> tuple:
        """Return the 11 fields as they travel."""
        step = (False,) if self.fixed_delta_seconds is None else (True, self.fixed_delta_seconds)
        return (
            self.synchronous_mode, self.no_rendering_mode, step, self.substepping,
            self.max_substep_delta_time, self.max_substeps, self.max_culling_distance,
            self.deterministic_ragdolls, self.tile_stream_distance, self.actor_active_distance,
            self.spectator_as_ego,
        )  # fmt: skip
