"""A weather in words as the client's object."""

from __future__ import annotations

import carla

from clipdrive.weather import RANGES, parse_weather


def weather_parameters(weather: str) -> carla.WeatherParameters:
    """CARLA's object for a weather in words, as `clipdrive.weather` reads them; raises WeatherError."""
    preset, changes = parse_weather(weather)
    base = getattr(carla.WeatherParameters, preset)
    parameters = carla.WeatherParameters()
    for name in RANGES:
        setattr(parameters, name, changes.get(name, getattr(base, name)))
    return parameters
