"""The command line: `python -m clipdrive gate` judges the published metrics, `... server` serves."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit code."""
    parser = argparse.ArgumentParser(prog="clipdrive", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    gate = commands.add_parser(
        "gate",
        help="judge reports/metrics by the thresholds in params.yaml",
        description="Exit code 0: every threshold holds; 1: one does not, or a metric is missing or NaN.",
    )
    gate.add_argument("--base", metavar="REVISION", help="also compare with the metrics of this Git revision")
    commands.add_parser("server", help="the bundled CARLA server (all further options are its own)", add_help=False)

    options, rest = parser.parse_known_args(arguments)
    if options.command == "server":
        from clipdrive.carla_server.__main__ import main as serve

        sys.argv = ["clipdrive server", *rest]
        return serve() or 0
    if rest:
        parser.error(f"unknown arguments: {' '.join(rest)}")
    return _gate(options.base)


def _gate(base: str | None) -> int:
    from clipdrive.params import load_params
    from clipdrive.reporting.gate import judge, published, published_at, table
    from clipdrive.stage import sentence_of

    folder = Path("reports/metrics")
    try:
        params = load_params()
        checks = judge(params.gate, published(folder), published_at(base, folder) if base else None)
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        return 1
    print(table(checks))
    return 0 if all(check.passed for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
