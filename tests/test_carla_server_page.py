"""docs/carla-server.md names every call, sensor and option of the server, and no other."""

from __future__ import annotations

import re

from clipdrive.carla_server.__main__ import parser
from clipdrive.carla_server.blueprints import LIBRARY
from clipdrive.carla_server.server import Server, ServerOptions
from clipdrive.carla_server.world_methods import EMPTY_LISTS, WITHOUT_EFFECT
from import_graph import ROOT

PAGE = (ROOT / "docs" / "carla-server.md").read_text(encoding="utf-8")


def rows(header):
    """The first cells' names in backticks, and the second cell, of each row of the table with that header."""
    table = PAGE.split(f"| {header} |", 1)[1].split("\n\n", 1)[0]
    for line in table.splitlines()[2:]:
        first, second, *_ = [cell.strip() for cell in line.strip("|").split(" | ")]
        yield re.findall(r"`([^`]+)`", first), second


def test_every_call_is_in_the_table():
    server = Server(ServerOptions(port=0))
    calls = set(server.rpc.methods)
    server.close()
    listed = [name for names, _ in rows("calls") for name in names]
    assert len(listed) == len(set(listed))
    assert set(listed) == calls
    by_words = {words: set(names) for names, words in rows("calls")}
    assert by_words["accepted, without effect"] == set(WITHOUT_EFFECT)
    assert by_words["an empty list"] == set(EMPTY_LISTS)


def test_every_blueprint_is_in_the_table():
    patterns = [name.replace(".*", ".") for names, _ in rows("blueprint") for name in names]
    assert not [blueprint for blueprint in LIBRARY if not any(blueprint.startswith(p) for p in patterns)]
    assert not [p for p in patterns if not any(blueprint.startswith(p) for blueprint in LIBRARY)]


def test_every_option_is_in_the_table():
    listed = {name for names, _ in rows("option") for name in names}
    shown = {s for a in parser()._actions for s in a.option_strings if a.help != "==SUPPRESS=="}
    assert listed - {"-vv"} == shown - {"-h", "--help", "--verbose"}
