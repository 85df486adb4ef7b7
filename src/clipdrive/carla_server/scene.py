"""What all cameras of one tick see: the ground, the boxes of what stands on it, and the weather."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from clipdrive.carla_server.actors import Actor, Solid
from clipdrive.carla_server.camera import NO_BOXES, NO_MOUNTS, box_rows
from clipdrive.carla_server.ground import GroundMap
from clipdrive.carla_server.weather import Weather


class Scene:
    """boxes: rows for `Camera.render`; weather: as cameras show it."""

    def __init__(self, ground: GroundMap, boxes: np.ndarray, weather: Weather) -> None:
        self.ground, self.boxes, self.weather = ground, boxes, weather

    @classmethod
    def of(
        cls, ground: GroundMap, solids: Mapping[int, Solid], parameters: tuple[float, ...], viewers: Sequence[Actor]
    ) -> Scene:
        """The scene of these actors under CARLA's 14 WeatherParameters, for the cameras `viewers`."""
        seen = any(viewer.sees_parent or solid is not viewer.parent for solid in solids.values() for viewer in viewers)
        boxes = box_rows([solid.drawn() for solid in solids.values()]) if seen else NO_BOXES
        return cls(ground, boxes, Weather.of(parameters))

    def mounts(self, viewer: Actor) -> np.ndarray:
        """Ids of what a camera is mounted on and does not see."""
        ids = unseen_mounts(viewer) if len(self.boxes) else ()
        return np.array(ids, dtype=np.int64) if ids else NO_MOUNTS


def unseen_mounts(viewer: Actor) -> list[int]:
    """Ids of what a sensor is mounted on and does not see."""
    ids = []
    while viewer.parent is not None:
        if not viewer.sees_parent:
            ids.append(viewer.parent.id)
        viewer = viewer.parent
    return ids
