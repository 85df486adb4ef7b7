"""What one logged number can and cannot be: by the arithmetic of the riddle."""

from __future__ import annotations

import pytest

from clipdrive.__main__ import main
from clipdrive.doctor import FAULTS, explain
from clipdrive.doctor.explanation import ExplainError


def fits(*arguments) -> dict[str, bool]:
    verdicts = explain(*arguments)
    assert sorted(v.fault for v in verdicts) == sorted(FAULTS) and all(v.reason for v in verdicts)
    return {v.fault: v.fits for v in verdicts}


def test_the_riddles_critic_fits_eight_tensors_and_not_six():
    assert fits("24.69", 10.0, 8)["sum of per-tensor norms"]  # 2.469 <= sqrt(8) = 2.828
    assert not fits("24.69", 10.0, 6)["sum of per-tensor norms"]  # 2.469 > sqrt(6) = 2.449
    assert not fits("24.69", 10.0, 6)["limit per layer"]


def test_the_riddles_actor_fits_both():
    assert fits("2.42", 1.0, 6)["sum of per-tensor norms"] and fits("2.42", 1.0, 8)["sum of per-tensor norms"]


def test_a_number_counts_as_rounded_at_its_last_digit():
    assert fits("2.45", 1.0, 6)["sum of per-tensor norms"]  # 2.445 to 2.455 holds sqrt(6) = 2.4495
    assert not fits("2.451", 1.0, 6)["sum of per-tensor norms"]
    assert not fits(2.4501, 1.0, 6)["sum of per-tensor norms"]


def test_what_a_number_above_the_limit_cannot_be():
    above = fits("24.69", 10.0, 8)
    for fault in ("dead gradient", "non-finite", "clip on scaled gradients", "exhausted generator"):
        assert not above[fault]
    assert not above["gradients left over from another loss"]  # the clip would hold them as well
    for fault in ("norm logged before clipping", "clip after step", "backward after clip", "stepped but not clipped"):
        assert above[fault]


def test_zero_nan_and_a_power_of_two():
    assert fits("0.0", 10.0, 8)["exhausted generator"] and fits("0", 10.0, 8)["dead gradient"]
    assert [fault for fault, fit in fits("nan", 10.0, 8).items() if fit] == ["non-finite"]
    assert fits(repr(10.0 / 65536), 10.0, 8)["clip on scaled gradients"]
    assert not fits("9.1", 10.0, 8)["norm logged before clipping"]


def test_a_scale_is_a_power_of_two_within_the_digits_of_the_log():
    assert fits("0.00015", 10.0, 8)["clip on scaled gradients"]  # 10 / 65536 = 0.000153
    assert not fits("0.00018", 10.0, 8)["clip on scaled gradients"]


@pytest.mark.parametrize("number", ["0e999999999", "1e-999999999", "0E+99999", " +1e-5 "])
def test_exponents_without_measure_are_read(number):
    fits(number, 10.0, 8)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("abc", 1.0, 8), "logged: got 'abc', allowed: a number, nan or inf"),
        (("-1", 1.0, 8), "never negative"),
        (("1", 0.0, 8), "limit: got 0"),
        (("1", 1.0, 0), "tensors: got 0"),
        (("1", 1.0, 10**400), "tensors: got 1000"),
        (("1", 1.0, 8, 0), "layers: got 0, allowed: 1 to 8"),
        (("1", 1.0, 8, -2), "layers: got -2, allowed: 1 to 8"),
        (("1", 1.0, 8, 9), "layers: got 9, allowed: 1 to 8"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(arguments, sentence):
    with pytest.raises(ExplainError, match=sentence):
        explain(*arguments)


def test_the_command_says_which_fit_and_which_do_not_with_the_reason(capsys):
    assert main(["doctor", "explain", "--logged", "24.69", "--limit", "10", "--tensors", "8"]) == 0
    text = capsys.readouterr().out
    fit, unfit = text.split("does not fit")
    assert "sum of per-tensor norms: 24.69 / 10 = 2.469 lies between 1 and sqrt(8) = 2.828" in fit
    assert "dead gradient" in unfit and "exhausted generator" in unfit
    assert main(["doctor", "explain", "--logged", "x", "--limit", "10", "--tensors", "8"]) == 1
    assert capsys.readouterr().err == "error: logged: got 'x', allowed: a number, nan or inf\n"


def test_explain_needs_no_torch():
    import subprocess
    import sys

    code = (
        "import sys; from clipdrive.__main__ import main;"
        "main('doctor explain --logged 2.42 --limit 1 --tensors 6'.split()); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
