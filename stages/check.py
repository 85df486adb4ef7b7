"""check: read params.yaml whole, open every track and the task, so that a mistake stops the run at once."""

from __future__ import annotations

import re
from pathlib import Path

from clipdrive.params import DRIVE, Params, load_params
from clipdrive.stage import run
from clipdrive.tracks.track import TrackError, open_track


def check_tracks(params: Params) -> None:
    """Open what the track names of the params stand for; raises TrackError with the key and the name.

    Left out are circuits, which any seed makes (drawing them all would take seconds), and towns on a CARLA server.
    """
    tracks = params.tracks
    for key, names in (("tracks.training", tracks.training), ("tracks.evaluation", tracks.evaluation)):
        for name in names:
            if re.fullmatch(r"circuit:\d+", name, re.ASCII) or (params.simulator == "carla" and _is_town(name)):
                continue
            try:
                open_track(name, follow=tracks.follow, folder=tracks.folder, junctions=tracks.junctions)
            except TrackError as error:
                raise TrackError(f"{key}: {error}") from error


def _is_town(name: str) -> bool:
    return not (name.startswith("circuit:") or name.endswith(".xodr"))


def main() -> None:
    params = load_params()
    check_tracks(params)
    if params.task != DRIVE:
        from clipdrive.tasks.gymnasium_task import check_task

        check_task(params)
    mark = Path("data/params.ok")
    mark.parent.mkdir(exist_ok=True)
    mark.write_text("params.yaml and its tracks are valid\n", encoding="utf-8")  # always the same


if __name__ == "__main__":
    run(main)
