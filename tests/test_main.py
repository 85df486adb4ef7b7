"""The command line: subcommands, their help, and what it refuses."""

from __future__ import annotations

import subprocess
import sys

import pytest

from clipdrive.__main__ import main


def test_help_names_the_subcommands(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "gate" in text and "server" in text


@pytest.mark.parametrize("arguments", [[], ["drive"], ["gate", "--bas"], ["gate", "--base"], ["gate", "extra"]])
def test_wrong_arguments_end_with_2(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: clipdrive" in capsys.readouterr().err


def test_the_servers_options_are_its_own() -> None:
    command = [sys.executable, "-m", "clipdrive", "server", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0
    assert "--stop-with-parent" in result.stdout
