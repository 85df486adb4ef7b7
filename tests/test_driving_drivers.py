import numpy as np
import pytest

from clipdrive.driving.drivers import Follower, RandomDriver, driver_for, speed_profile
from fake_world import RADIUS_M, circle_env, circle_route, default_params


def test_random_driving_is_a_first_order_process():
    driver = RandomDriver(0.9, 0.25, 0.1, np.random.default_rng(0))
    actions = np.array([driver.act({}, {}) for _ in range(20_000)], float)
    assert actions.mean(axis=0) == pytest.approx([0.0, 0.1], abs=0.04)
    assert actions.std(axis=0) == pytest.approx([0.25, 0.25], rel=0.07)
    for column in actions.T:
        lags = [np.corrcoef(column[:-lag], column[lag:])[0, 1] for lag in (1, 2, 5)]
        assert lags == pytest.approx([0.9, 0.81, 0.9**5], abs=0.04)
    assert abs(np.corrcoef(actions.T)[0, 1]) < 0.06


def test_random_actions_are_in_range_from_the_first():
    first = [RandomDriver(0.9, 5.0, 0.3, np.random.default_rng(seed)).act({}, {}) for seed in range(50)]
    assert np.abs(first).max() == 1.0 and np.std(first) > 0.5 and first[0].dtype == np.float32


def test_speed_limit_of_a_corner_is_that_of_its_lateral_acceleration():
    route = circle_route()
    assert speed_profile(route, 100.0, 4.0, 3.0) == pytest.approx(np.sqrt(4.0 * RADIUS_M))
    assert speed_profile(route, 9.0, 4.0, 3.0) == pytest.approx(9.0)


@pytest.mark.parametrize("closed", [True, False])
def test_it_brakes_before_a_corner_and_across_the_seam(closed):
    route = circle_route(closed=closed)
    route.curvature_1pm[:] = 0.0
    route.curvature_1pm[5] = 1.0 / 9.0  # 6 m/s at 4 m/s2
    speed = speed_profile(route, 12.0, 4.0, 3.0)
    assert speed[5] == pytest.approx(6.0)
    # v^2 = v0^2 + 2 a s, ten points before the corner: beyond the seam, where there is one
    assert speed[-5] == pytest.approx(np.sqrt(36.0 + 2 * 3.0 * 10 * route.spacing_m) if closed else 12.0)
    assert speed[6] == pytest.approx(12.0)


@pytest.mark.parametrize("offset_m", [2.5, -2.5])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_the_follower_comes_back_to_the_middle(monkeypatch, direction, offset_m):
    env = circle_env(monkeypatch)
    observation, info = env.reset(
        options={"s_m": 0.0, "offset_m": offset_m, "heading_error_rad": 0.3, "direction": direction}
    )
    follower = Follower.for_env(env)
    for _ in range(120):
        observation, _, terminated, _, info = env.step(follower.act(observation, info))
        assert not terminated
    assert abs(info["offset_m"]) < 0.3 and abs(info["heading_error_rad"]) < 0.05
    assert info["speed_mps"] == pytest.approx(10.0, abs=0.5)


def test_a_follower_that_looks_back_turns_round():
    route = circle_route()
    info = {"s_m": 0.0, "x_m": RADIUS_M, "y_m": 0.0, "yaw_rad": -np.pi / 2 + 0.1, "speed_mps": 3.0}
    assert abs(Follower(route, 10.0).act({}, info)[0]) == 1.0


def test_noise_needs_a_generator_and_has_its_size():
    with pytest.raises(ValueError, match="rng: got None"):
        Follower(circle_route(), 10.0, noise=0.1)
    info = {"s_m": 0.0, "x_m": RADIUS_M, "y_m": 0.0, "yaw_rad": np.pi / 2, "speed_mps": 10.0}
    noisy = Follower(circle_route(), 10.0, noise=0.1, rng=np.random.default_rng(0))
    actions = np.array([noisy.act({}, info) for _ in range(4000)])
    assert actions.std(axis=0) == pytest.approx([0.1, 0.1], rel=0.05)
    assert actions.mean(axis=0) == pytest.approx(Follower(circle_route(), 10.0).act({}, info), abs=0.01)


@pytest.mark.parametrize(
    ("driver", "share", "expected"), [("random", 0.5, 0), ("follower", 0.5, 200), ("mixed", 0.3, 60)]
)
def test_driver_of_an_episode(monkeypatch, driver, share, expected):
    params = default_params(collect={"driver": driver, "follower_share": share})
    env = circle_env(monkeypatch, params)
    names = []
    for episode in range(200):
        env.reset(options={"episode": episode})
        names.append(driver_for(params, episode, env).name)
    assert names.count("follower") == pytest.approx(expected, abs=20 if driver == "mixed" else 0)


def test_a_driver_depends_on_seed_and_episode_alone(monkeypatch):
    params = default_params(collect={"driver": "mixed"})

    def actions(episodes):
        env = circle_env(monkeypatch, params)
        for episode in episodes:
            observation, info = env.reset(options={"episode": episode})
            driver = driver_for(params, episode, env)
            taken = [driver.act(observation, info).tolist() for _ in range(5)]
        return taken

    assert actions([0, 1, 2, 3]) == actions([3]) != actions([4])
