"""`python -m clipdrive.carla_server`: a CARLA 0.9.16 server without a GPU."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from clipdrive.carla_server.listening import ListenError

log = logging.getLogger("clipdrive.carla_server")


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65534:
        raise argparse.ArgumentTypeError(f"{port}: expected a number from 0 to 65534")
    return port


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: no such folder")
    return path


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    result = argparse.ArgumentParser(
        prog="clipdrive-carla-server",
        description="A small server that speaks CARLA 0.9.16's protocol: any program written for the carla "
        "package 0.9.16 can connect. When it is ready, it prints one line on stdout that ends in HOST:PORT; "
        "everything else goes to stderr.",
        epilog="Two ports are used: PORT for calls and PORT + 1 (or any free one, where that is taken) for what "
        "sensors send; clients find the second by themselves. SIGINT and SIGTERM end the server with exit code 0. "
        "Exit code 1: the port is taken or the map cannot be loaded; 2: wrong arguments; stderr says which in one "
        "sentence.",
    )
    result.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    result.add_argument("--port", type=_port, default=2000, help="RPC port, 0 = any free one (default: %(default)s)")
    result.add_argument(
        "--map", help="first map: circuit_<seed>, town_<seed>, or a name from --maps (default: circuit_1)"
    )
    result.add_argument(
        "--maps", type=_folder, action="append", default=[], metavar="FOLDER",
        help="a folder of .xodr files to offer as maps by their names; may be given again",
    )  # fmt: skip
    result.add_argument("--stop-with-parent", action="store_true", help="end when stdin is closed or the parent ends")
    result.add_argument(
        "-v", "--verbose", action="count", default=0,
        help="say on stderr who connects, listens and leaves, what is loaded, spawned and destroyed, which calls a "
        "client makes, and which fail and why; -vv: every call with its arguments",
    )  # fmt: skip
    result.add_argument(
        "--compile-only", action="store_true", help="compile what is compiled once per installation, and end"
    )
    result.add_argument("--constant-image", action="store_true", help=argparse.SUPPRESS)
    return result


def _leave(*_: object) -> None:
    os._exit(0)  # nothing is open yet; an exception in the middle of a compilation would be a riddle to the user


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until it is told to stop; returns the exit code."""
    parent_id = os.getppid()  # at once: the parent may end while we start
    options = parser().parse_args(arguments)
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(options.verbose, 2)]
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGINT, _leave)
    signal.signal(signal.SIGTERM, _leave)
    from clipdrive.carla_server.rpc import RpcError
    from clipdrive.carla_server.server import Server, ServerOptions
    from clipdrive.carla_server.warm_up import warm_up

    if options.compile_only:
        warm_up()
        return 0
    try:
        server = Server(
            ServerOptions(
                options.host, options.port, options.map, tuple(options.maps),
                parent_id if options.stop_with_parent else None, options.constant_image,
            )
        )  # fmt: skip
    except (ListenError, RpcError) as error:
        print(f"clipdrive-carla-server: {error}", file=sys.stderr)
        return 1
    note = threading.Timer(3.0, log.warning, ["compiling camera and vehicle, once per installation"])
    note.daemon = True
    note.start()
    warm_up()
    note.cancel()
    with contextlib.suppress(OSError):  # nobody has to read it
        print(f"clipdrive-carla-server listening on {options.host}:{server.port}", flush=True)
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
