from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from clipdrive.driving.spawn import (
    COLLECT,
    TRAIN,
    direction_of_episode,
    draw_start,
    episode_generator,
    track_of_episode,
)
from clipdrive.tracks.route import Turn
from fake_world import circle_route, default_params

SPAWN = default_params().spawn
ROUTE = circle_route()
NAMES = tuple(f"circuit:{number}" for number in range(7))


def starts(count=2000, route=ROUTE, **changes):
    spawn = default_params(spawn=changes).spawn
    return [draw_start(spawn, route, episode_generator(0, COLLECT, episode)) for episode in range(count)]


def test_checkpoint_spawns_have_the_noise_of_the_params():
    drawn = starts(lateral_m=2.0, heading_rad=0.3, speed_mps=8.0, standstill_share=0.25, every_m=10.0)
    offset, heading, speed, s = np.array(
        [(start.offset_m, start.heading_error_rad, start.speed_mps, start.s_m) for start in drawn]
    ).T
    assert np.abs(offset).max() <= 2.0 and offset.std() == pytest.approx(2.0 / np.sqrt(3.0), rel=0.05)
    assert np.abs(heading).max() <= 0.3 and heading.std() == pytest.approx(0.3 / np.sqrt(3.0), rel=0.05)
    assert (speed == 0.0).mean() == pytest.approx(0.25, abs=0.03)
    assert speed[speed > 0].mean() == pytest.approx(4.0, rel=0.05) and speed.max() <= 8.0
    checkpoints = ROUTE.checkpoints(10.0)
    assert set(s) == set(checkpoints)  # 31 of them, 2000 draws


def test_a_share_begins_near_a_turn():
    turns = (Turn(10.0, 25.0, "left"), Turn(100.0, 115.0, "straight"), Turn(200.0, 215.0, "right"))
    route = replace(ROUTE, turns=turns)
    places = np.array([start.s_m for start in starts(route=route, near_turn_share=1.0)])
    # From 20 m before a turn up to its end, over the seam where it begins at 10 m; not before the one straight on.
    left, right = (places <= 25.0) | (places >= ROUTE.length_m - 10.0), (places >= 180.0) & (places <= 215.0)
    assert (left | right).all() and left.mean() == pytest.approx(0.5, abs=0.05)
    assert places[right].mean() == pytest.approx(197.5, abs=1.0)
    some = np.array([start.s_m for start in starts(route=route, near_turn_share=0.3)])
    assert np.isin(some, ROUTE.checkpoints(default_params().spawn.every_m)).mean() == pytest.approx(0.7, abs=0.04)
    assert starts(count=50, route=route) == starts(count=50), "off, the draws are those of before"


def test_without_turns_none_begins_near_one():
    straight = replace(ROUTE, turns=(Turn(100.0, 115.0, "straight"),))
    for route in (ROUTE, straight):
        assert {start.s_m for start in starts(route=route, near_turn_share=1.0)} <= set(ROUTE.checkpoints(10.0))


def test_offset_stays_on_a_narrow_road():
    drawn = starts(route=circle_route(half_width_m=1.75), lateral_m=2.8)
    assert max(abs(start.offset_m) for start in drawn) <= 0.8 * 1.75


def test_start_and_last_are_exact():
    for kind, last_s_m, expected_s_m in (("start", 30.0, 0.0), ("last", None, 0.0), ("last", 30.0, 30.0)):
        spawn = default_params(spawn={"kind": kind}).spawn
        start = draw_start(spawn, ROUTE, episode_generator(0, TRAIN, 5), last_s_m)
        assert (start.s_m, start.offset_m, start.heading_error_rad, start.speed_mps) == (
            expected_s_m,
            0.0,
            0.0,
            0.0,
        )


def test_an_open_route_is_not_begun_at_its_end():
    drawn = starts(route=circle_route(closed=False), every_m=10.0)
    assert max(start.s_m for start in drawn) <= circle_route(closed=False).length_m - 50.0


def test_episodes_do_not_depend_on_what_was_drawn_before():
    twice = [draw_start(SPAWN, ROUTE, episode_generator(3, TRAIN, 17)) for _ in range(2)]
    assert twice[0] == twice[1]
    others = [episode_generator(*key) for key in ((4, TRAIN, 17), (3, COLLECT, 17), (3, TRAIN, 18))]
    assert len({draw_start(SPAWN, ROUTE, rng) for rng in others} | {twice[0]}) == 4


def test_every_track_has_its_turn_for_so_many_episodes():
    names = [track_of_episode(NAMES, 0, TRAIN, episode, 10) for episode in range(140)]
    assert Counter(names) == dict.fromkeys(NAMES, 20)
    assert all(len(set(names[first : first + 10])) == 1 for first in range(0, 140, 10))
    assert names[:70] == names[70:]
    assert names != [track_of_episode(NAMES, 1, TRAIN, episode, 10) for episode in range(140)]


def test_directions():
    def directions(kind):
        spawn = default_params(spawn={"kind": kind}).spawn
        return [direction_of_episode(spawn, episode_generator(0, TRAIN, i), 0, TRAIN, i, 10) for i in range(400)]

    assert 160 < directions("checkpoint").count("forward") < 240
    chained = directions("last")
    assert all(len(set(chained[first : first + 10])) == 1 for first in range(0, 400, 10))
    assert set(chained) == {"forward", "backward"}
