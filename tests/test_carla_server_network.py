"""The bundled server's event loop: how it waits."""

from __future__ import annotations

import pytest

from clipdrive.carla_server.network import AWAKE_S, MOST_ASLEEP, EventLoop


class Socket:
    """In place of epoll: something happens at the n-th look that does not wait, or never."""

    def __init__(self, looks: int | None) -> None:
        self.looks, self.left, self.waits, self.awake = looks, looks, 0, 0

    def poll(self, timeout_s: float) -> list[tuple[int, int]]:
        if timeout_s > 0.0:
            self.waits += 1
            return []
        self.awake += 1
        if self.looks is None:
            return []
        self.left -= 1
        if self.left:
            return []
        self.left = self.looks
        return [(0, 1)]


@pytest.fixture
def loop():
    loop = EventLoop()
    loop.epoll.close()
    return loop


def test_the_loop_is_awake_for_a_client_that_comes_back_at_once(loop):
    loop.epoll = Socket(looks=3)
    assert all(loop._events_within(1.0) for _ in range(500))
    assert loop.epoll.waits < 10  # a look that the machine keeps waiting may be in vain
    assert loop.epoll.awake >= 3 * 490


def test_the_loop_sleeps_where_nobody_comes_back(loop):
    loop.epoll = Socket(looks=None)
    begun_awake = 0
    for _ in range(5000):
        before = loop.epoll.awake
        assert loop._events_within(1.0) == []
        begun_awake += loop.epoll.awake > before
    assert loop.epoll.waits == 5000 and 5000 / MOST_ASLEEP < begun_awake < 5000 / MOST_ASLEEP + 10


def test_the_loop_never_waits_longer_than_it_may(loop):
    loop.epoll = Socket(looks=None)
    assert loop._events_within(AWAKE_S) == [] and loop.epoll.awake == 0
