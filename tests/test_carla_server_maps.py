"""Maps by name, from folders and texts; what is kept and what is refused."""

from __future__ import annotations

import pytest

from clipdrive.carla_server import maps
from clipdrive.carla_server.rpc import RpcError
from clipdrive.opendrive.circuit import circuit_xodr
from clipdrive.opendrive.town import town_xodr


def test_full_and_short_names_are_the_same_map():
    library = maps.MapLibrary()
    assert library.load("circuit_2") is library.load("/Game/Carla/Maps/circuit_2")
    assert library.load("Carla/Maps/circuit_2").name == "Carla/Maps/circuit_2"
    assert library.load("circuit_2").xodr == circuit_xodr(2)


def test_any_seed_can_be_loaded_and_other_names_cannot():
    library = maps.MapLibrary()
    assert library.load("circuit_123456").spawn_points
    assert library.load("town_3").xodr == town_xodr(3) and "/Game/Carla/Maps/town_3" in library.names()
    assert library.load("town_123456").spawn_points
    for name in ("circuit_", "circuit_x", "Town01", "OpenDriveMap", "..", "", "a/../b", "nul\0"):
        with pytest.raises(RpcError, match="not found"):
            library.load(name)


def test_a_folder_offers_its_files_and_nothing_beside_it(tmp_path):
    folder = tmp_path / "maps"
    folder.mkdir()
    (folder / "Hill.xodr").write_text(circuit_xodr(5))
    (tmp_path / "Secret.xodr").write_text(circuit_xodr(6))
    library = maps.MapLibrary((folder,))
    assert "/Game/Carla/Maps/Hill" in library.names()
    assert library.load("Hill_Opt").name == "Carla/Maps/Hill"
    with pytest.raises(RpcError, match="not found"):
        library.load("../Secret")


def test_a_text_is_kept_with_its_walls(monkeypatch):
    library = maps.MapLibrary()
    xodr = circuit_xodr(3)
    library.generate(xodr, 2.5, 1.0)
    narrow = library.load("OpenDriveMap")
    library.generate(xodr, 6.0, 2.0)
    wide = library.load("OpenDriveMap")
    assert (narrow.ground.verge_m, wide.ground.verge_m) == (2.5, 6.0)
    assert wide.ground.wall_height_m == 2.0
    library.generate(xodr, 2.5, 1.0)
    assert library.load("OpenDriveMap") is narrow  # not made again


def test_a_broken_text_leaves_the_last_one():
    library = maps.MapLibrary()
    library.generate(circuit_xodr(3), 2.5, 1.0)
    with pytest.raises(RpcError, match="opendrive could not be correctly parsed"):
        library.generate("<OpenDRIVE/>", 2.5, 1.0)
    assert library.load("OpenDriveMap").xodr == circuit_xodr(3)


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(maps, "CACHED_MAPS", 2)
    library = maps.MapLibrary()
    first = library.load("circuit_1")
    library.load("circuit_2")
    assert library.load("circuit_1") is first
    library.load("circuit_3")  # pushes out 2, the one not used for longest
    assert library.load("circuit_1") is first
    monkeypatch.setattr(maps, "CACHED_BYTES", 1)
    last = library.load("circuit_4")
    assert library.load("circuit_4") is last
    assert library.load("circuit_1") is not first


def test_origin_is_read_as_the_client_reads_it():
    xodr = circuit_xodr(1).replace("+lat_0=0 +lon_0=0", "+lat_0=49.5 +lon_0=-8.25e0")
    library = maps.MapLibrary()
    library.generate(xodr, 2.5, 1.0)
    assert library.load("OpenDriveMap").origin_deg == (49.5, -8.25)
    library.generate(xodr.replace("+lat_0=49.5", ""), 2.5, 1.0)
    assert library.load("OpenDriveMap").origin_deg == (42.0, 2.0)
