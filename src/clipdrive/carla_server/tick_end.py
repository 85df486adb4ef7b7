"""The end of a tick: the snapshot leaves, then the tick's answer, then the images, on which several threads work."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from clipdrive.carla_server.crew import Crew, Job
from clipdrive.carla_server.sensors import CameraSensor
from clipdrive.carla_server.streams import StreamServer

Image = tuple[bytes, bytes | memoryview]  # the head of its message, and the pixels


class TickEnd:
    """What one tick has to send.

    news: what sends the snapshot and what sends the answer; draw: makes a camera's image; draws_fast: an image takes
    no time worth a helper.
    """

    def __init__(
        self, crew: Crew, streams: StreamServer, news: Sequence[Job], draw: Callable[[CameraSensor], Image],
        draws_fast: bool,
    ) -> None:  # fmt: skip
        self._crew, self._streams, self._draw, self._draws_fast = crew, streams, draw, draws_fast
        self._sending = threading.Lock()  # connections belong to whoever holds it, while the crew is at work
        self._unsent = list(news)
        self._drawn: deque[tuple[int, bytes, bytes | memoryview]] = deque()  # stream id, and the image

    def send(self, cameras: Sequence[CameraSensor]) -> None:
        """Send everything; all is sent, or logged as failed, when it returns.

        Where there are several images to draw, a helper sends the news: the client takes them in on the processor that
        the helper leaves, while this thread is drawing already. For one image waking a helper costs more than it saves.
        With a single helper the images leave when all are drawn: a client that takes in one of them would take a
        processor of two from the drawing of the others.
        """
        drawings = [partial(self._send_image, camera) for camera in cameras]
        if len(drawings) > 1 and not self._draws_fast:
            self._crew.share(drawings[0], [self._send_news, *drawings[1:]])
        else:
            self._crew.alone([self._send_news, *drawings])
        self._crew.alone([self._send_drawn] * len(self._drawn))

    def _send_news(self) -> None:
        with self._sending:
            self._send_unsent()

    def _send_image(self, camera: CameraSensor) -> None:
        self._drawn.append((camera.stream_id, *self._draw(camera)))
        if self._crew.helpers > 1 or self._draws_fast:
            self._send_drawn()

    def _send_drawn(self) -> None:
        """Send one image."""
        with self._sending:
            self._send_unsent()  # no image comes before its tick's answer
            self._streams.publish(*self._drawn.popleft())

    def _send_unsent(self) -> None:
        while self._unsent:
            self._unsent.pop(0)()
