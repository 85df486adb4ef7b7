"""The command line: `clipdrive doctor` looks at the agent's gradients, `gate` judges metrics, `server` serves."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from clipdrive.doctor import command as doctor


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
    help_text = "check the gradients of the agent in params.yaml; `doctor explain` judges a number from a log"
    doctor.add_arguments(commands.add_parser("doctor", help=help_text))
    commands.add_parser("server", help="the bundled CARLA server (all further options are its own)", add_help=False)

    options, rest = parser.parse_known_args(arguments)
    if options.command == "server":
        from clipdrive.carla_server.__main__ import main as serve

        sys.argv = ["clipdrive server", *rest]
        return serve() or 0
    if rest:
        parser.error(f"unknown arguments: {' '.join(rest)}")
    if options.command == "doctor":
        return _told(lambda: doctor.run(options))
    return _told(lambda: _gate(options.base))


def _told(command: Callable[[], int]) -> int:
    """Run a command; a fault that a user can mend is one sentence and exit code 1."""
    from clipdrive.stage import sentence_of

    try:
        return command()
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        return 1


def _gate(base: str | None) -> int:
    from clipdrive.params import load_params
    from clipdrive.reporting.gate import judge, published, published_at, table

    folder = Path("reports/metrics")
    params = load_params()
    checks = judge(params.gate, published(folder), published_at(base, folder) if base else None)
    print(table(checks))
    return 0 if all(check.passed for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
