"""A weather in words: one of CARLA's presets, values by name, or a preset with values changed.

    HardRainNoon
    sun_altitude_angle:5 fog_density:40      (the rest as in ClearNoon)
    WetSunset fog_density:60
"""

from __future__ import annotations

import math

BASE = "ClearNoon"
PRESETS = (
    "Default",
    *(
        sky + time
        for time in ("Noon", "Sunset", "Night")
        for sky in ("Clear", "Cloudy", "Wet", "WetCloudy", "SoftRain", "HardRain")
    ),
    *("MidRainyNoon", "MidRainSunset", "MidRainyNight", "DustStorm"),  # as CARLA spells them
)
_PERCENT = (0.0, 100.0)
_NOT_NEGATIVE = (0.0, math.inf)
RANGES = {
    "cloudiness": _PERCENT,
    "precipitation": _PERCENT,
    "precipitation_deposits": _PERCENT,
    "wind_intensity": _PERCENT,
    "sun_azimuth_angle": (0.0, 360.0),
    "sun_altitude_angle": (-90.0, 90.0),
    "fog_density": _PERCENT,
    "fog_distance": _NOT_NEGATIVE,
    "fog_falloff": _NOT_NEGATIVE,
    "wetness": _PERCENT,
    "scattering_intensity": _NOT_NEGATIVE,
    "mie_scattering_scale": _NOT_NEGATIVE,
    "rayleigh_scattering_scale": _NOT_NEGATIVE,
    "dust_storm": _PERCENT,
}


class WeatherError(ValueError):
    """Words that are no weather."""


def parse_weather(text: str) -> tuple[str, dict[str, float]]:
    """(preset, values changed in it) of a weather in words; raises WeatherError with one sentence."""
    words = text.split()
    preset = words.pop(0) if words and words[0] in PRESETS else BASE
    if not words and not text.strip():
        raise WeatherError("got no word, allowed: a preset of CARLA such as HardRainNoon, or name:value")
    changes = {}
    for word in words:
        name, colon, number = word.partition(":")
        if not colon:
            raise WeatherError(f"got {word!r}, allowed: {', '.join(PRESETS)} first, then name:value")
        if name not in RANGES:
            raise WeatherError(f"got {word!r}, allowed: {', '.join(RANGES)} before the colon")
        low, high = RANGES[name]
        value = _number(number)
        if not (low <= value <= high and math.isfinite(value)):
            until = "at least 0" if high == math.inf else f"in [{low:g}, {high:g}]"
            raise WeatherError(f"got {word!r}, allowed: {name} {until}")
        changes[name] = value
    return preset, changes


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
