"""`clipdrive doctor`: checks the agent of params.yaml; `clipdrive doctor explain`: judges one number from a log."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `doctor` and of `doctor explain`."""
    parser.description = "Exit code 0: sound; 1: a fault was found, or the agent cannot be built."
    parser.add_argument("--updates", type=int, default=20, metavar="N", help="updates to watch (default 20)")
    where = "where the observations are; a short drive on the bundled server where there are none"
    parser.add_argument("--episodes", type=Path, default=Path("data/episodes"), metavar="FOLDER", help=where)
    inner = parser.add_subparsers(dest="doctor_command", metavar="explain")
    explain = inner.add_parser("explain", help="which faults fit a norm that a log shows after clipping")
    explain.add_argument("--logged", required=True, metavar="NORM", help="as the log shows it: its digits count")
    explain.add_argument("--limit", required=True, type=float, metavar="NORM")
    explain.add_argument("--tensors", required=True, type=int, metavar="N", help="weights and biases in the group")
    explain.add_argument("--layers", type=int, metavar="N", help="layers in the group (default: half the tensors)")


def run(options: argparse.Namespace) -> int:
    """Print the verdict; returns the exit code. Raises the package's own errors for what it cannot read."""
    if options.doctor_command == "explain":
        from clipdrive.doctor.explanation import explain, text_of

        verdicts = explain(options.logged, options.limit, options.tensors, options.layers)
        print(text_of(options.logged, options.limit, options.tensors, verdicts))
        return 0
    from clipdrive.doctor.checkup import check_params
    from clipdrive.params import load_params

    checkup = check_params(load_params(), options.episodes, max(options.updates, 1))
    print(checkup)
    return 0 if checkup.sound else 1
