"""Weathers in words, and that they are CARLA's."""

from __future__ import annotations

import carla
import pytest

from clipdrive.driving.spawn import weather_of_episode
from clipdrive.simulator.opening import open_session
from clipdrive.simulator.process import ServerProcess
from clipdrive.simulator.weather import weather_parameters
from clipdrive.tracks.track import open_track
from clipdrive.weather import PRESETS, RANGES, WeatherError, parse_weather
from fake_world import circle_env, default_params


def test_presets_and_values_are_those_of_the_client():
    names = {name for name in dir(carla.WeatherParameters) if not name.startswith("__")}
    presets = {name for name in names if isinstance(getattr(carla.WeatherParameters, name), carla.WeatherParameters)}
    assert set(PRESETS) == presets and set(RANGES) == names - presets


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "Default"])
def test_every_preset_is_within_the_ranges(preset):
    weather = getattr(carla.WeatherParameters, preset)
    for name, (low, high) in RANGES.items():
        value = getattr(weather, name)
        assert low <= value <= high or (name == "sun_azimuth_angle" and value == -1.0)


def test_words():
    assert parse_weather("HardRainNoon") == ("HardRainNoon", {})
    assert parse_weather("fog_density:40") == ("ClearNoon", {"fog_density": 40.0})
    words = parse_weather("WetSunset sun_altitude_angle:-3.5 wetness:0")
    assert words == ("WetSunset", {"sun_altitude_angle": -3.5, "wetness": 0.0})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (" ", "got no word, allowed: a preset"),
        ("Sunny", "got 'Sunny', allowed: Default, ClearNoon"),
        ("fog_density:40 ClearNoon", "got 'ClearNoon', allowed: .* first"),
        ("fog:40", "got 'fog:40', allowed: cloudiness"),
        ("fog_density:101", r"got 'fog_density:101', allowed: fog_density in \[0, 100\]"),
        ("fog_density:", "got 'fog_density:', allowed: fog_density in"),
        ("fog_distance:inf", "got 'fog_distance:inf', allowed: fog_distance at least 0"),
        ("sun_altitude_angle:nan", "got 'sun_altitude_angle:nan', allowed"),
    ],
)
def test_what_is_no_weather_is_refused_in_one_sentence(text, sentence):
    with pytest.raises(WeatherError, match=f"^{sentence}"):
        parse_weather(text)


def test_values_are_changed_in_a_copy_of_the_preset():
    weather = weather_parameters("HardRainSunset fog_density:33")
    assert weather.fog_density == 33.0 and weather.precipitation == 100.0 and weather.sun_altitude_angle == 15.0
    assert carla.WeatherParameters.HardRainSunset.fog_density == 7.0
    assert weather_parameters("WetNight") == carla.WeatherParameters.WetNight


def test_an_episode_draws_its_weather_by_its_number_and_leaves_its_start_as_it_was(monkeypatch):
    weathers = ("ClearNoon", "WetNoon", "HardRainNight")
    plain = circle_env(monkeypatch, default_params())
    env = circle_env(monkeypatch, default_params(tracks={"weather": weathers}))
    seen = []
    for episode in range(60):
        start, expected = (one.reset(options={"episode": episode})[1] for one in (env, plain))
        assert start == expected and plain._session.weather is None
        seen.append(env._session.weather)
        assert seen[-1] == weather_of_episode(weathers, 0, 2, episode)
    assert set(seen) == set(weathers)
    assert env.reset(options={"episode": 0, "weather": "WetSunset"}) and env._session.weather == "WetSunset"


def test_the_session_sets_the_weather_and_gives_the_worlds_own_back():
    track = open_track("circuit:1")
    pose = track.route_forward.pose(40.0)
    with ServerProcess() as server, open_session(default_params(), server=server) as session:

        def image_in(weather):
            session.load(track)
            session.set_weather(weather)
            return session.reset(pose).image

        plain, night, again = image_in(None), image_in("ClearNight"), image_in(None)
        assert (plain == again).all()
        assert night.mean() == pytest.approx(0.08 * plain.mean(), rel=0.35)  # light at midnight, and some fog
        assert session._world.get_weather() == carla.WeatherParameters.ClearNoon
        image_in("ClearNight")
        session.load(open_track("circuit:2"))  # another world has its own again
        assert session._world.get_weather() == carla.WeatherParameters.ClearNoon
        assert (image_in("ClearNight") == night).all()
