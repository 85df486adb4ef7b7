"""What the weather does to the look of things: light by the sun's height, haze by fog, darker ground by rain.

CARLA's ClearNoon, the weather of a new episode, leaves every colour as `materials` has it, to the bit. So does
`WeatherParameters.Default`, whose numbers are -1: the map's own weather.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from clipdrive.carla_server.materials import (
    ASPHALT,
    HORIZON,
    LUMA_BGR,
    TERRAIN,
    VERGE,
    WHITE_LINE,
    YELLOW_LINE,
    ZENITH,
    materials,
)

CLEAR_HAZE_M = 130.0  # at this distance half of the light is haze
SUN_DEG, SUN_LIGHT = (-90.0, -12.0, 0.0, 15.0, 45.0), (0.08, 0.12, 0.45, 0.8, 1.0)  # light by the sun's altitude
FOG_SHORTENS = 25.0  # how many times nearer the haze is in the densest fog
RAIN_FOG = 0.08  # of the densest fog, in the heaviest rain
CLOUDS_TAKE = 0.3  # of the light, under a full cover
_DARKENS = {ASPHALT: 0.4, VERGE: 0.25, TERRAIN: 0.25, WHITE_LINE: 0.1, YELLOW_LINE: 0.1}  # wholly wet


class Weather(NamedTuple):
    """The part of CARLA's WeatherParameters that cameras show."""

    cloudiness: float = 5.0  # percent, as are all but angle and distance
    precipitation: float = 0.0
    precipitation_deposits: float = 0.0
    sun_altitude_deg: float = 45.0
    fog_density: float = 2.0
    fog_distance_m: float = 0.75
    wetness: float = 0.0

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, parameters: tuple[float, ...]) -> Weather:
        """Pick from the 14 WeatherParameters."""
        if all(number == -1.0 for number in parameters[:10]):
            return CLEAR
        clouds, rain, deposits, _, _, altitude, fog, fog_from, _, wetness, *_ = parameters
        return cls(clouds, rain, deposits, altitude, fog, fog_from, wetness)


CLEAR = Weather()


@lru_cache(maxsize=256)
def looks(texture_seed: int, weather: Weather) -> tuple:
    """(colours (8, 3), contrasts (3,), grain) as `materials`, and (haze distance, haze from (m, float32), light)."""
    colours, contrasts, grain = materials(texture_seed)
    clouds, rain = _share(weather.cloudiness, 5.0), _share(weather.precipitation)
    wet = max(rain, _share(weather.precipitation_deposits), _share(weather.wetness))
    fog = _share(weather.fog_density, 2.0)
    light = float(np.interp(weather.sun_altitude_deg, SUN_DEG, SUN_LIGHT)) * (1.0 - CLOUDS_TAKE * clouds)
    haze = min(fog + RAIN_FOG * rain, 1.0)
    haze_from_m = max(weather.fog_distance_m, 0.0) if fog > 0.0 else 0.0
    if light != 1.0 or clouds or wet or haze:
        colours = colours.copy()
        for what, share in _DARKENS.items():
            colours[what] *= 1.0 - share * wet
        for what in (ZENITH, HORIZON):
            gray = float(LUMA_BGR @ colours[what])
            colours[what] += clouds * (gray - colours[what])
        colours[ZENITH] += haze * (colours[HORIZON] - colours[ZENITH])
        colours *= light
        contrasts = contrasts * light
    haze_m = CLEAR_HAZE_M / (1.0 + FOG_SHORTENS * haze)
    return colours, contrasts, grain, (np.float32(haze_m), np.float32(haze_from_m), light)


def _share(percent: float, clear: float = 0.0) -> float:
    """How far a percentage is above what it is in clear weather, 0 to 1."""
    return min(max((percent - clear) / (100.0 - clear), 0.0), 1.0)
