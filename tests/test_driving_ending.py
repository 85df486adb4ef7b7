import pytest

from clipdrive.driving.ending import ENDINGS, EndingRules
from fake_world import default_params

ENDING = {"off_road_margin_m": 0.3, "stuck_distance_m": 1.0, "stuck_after_s": 5.0, "time_limit_steps": 60}


def rules(**changes) -> EndingRules:
    return EndingRules(default_params(ending=ENDING | changes).ending, decision_s=0.1)


def decide(rules, *, collision=False, offset_m=0.0, progress_m=0.0, arrived=False):
    return rules.after_decision(
        collision=collision, offset_m=offset_m, half_width_m=3.5, progress_m=progress_m, arrived=arrived
    )


@pytest.mark.parametrize(
    ("offset_m", "expected"), [(3.79, None), (3.81, "off_road"), (-3.79, None), (-3.81, "off_road")]
)
def test_off_road_begins_a_margin_beyond_the_edge(offset_m, expected):
    assert decide(rules(), offset_m=offset_m) == expected


def test_stuck_counts_metres_of_the_last_seconds():
    slow = rules()
    endings = [decide(slow, progress_m=0.0199 * step) for step in range(1, 51)]
    assert endings == [None] * 49 + ["stuck"]
    quick = rules()
    assert {decide(quick, progress_m=0.0201 * step) for step in range(1, 60)} == {None}


def test_standing_still_after_a_drive_is_stuck_five_seconds_later():
    r = rules(time_limit_steps=1000)
    driven = [decide(r, progress_m=float(step)) for step in range(1, 101)]
    stood = [decide(r, progress_m=100.0) for _ in range(50)]
    assert set(driven) == {None} and stood == [None] * 49 + ["stuck"]


def test_going_backwards_is_stuck_too():
    r = rules()
    assert [decide(r, progress_m=-1.0 * step) for step in range(1, 51)][-1] == "stuck"


def test_time_limit_and_lap():
    r = rules()
    assert [decide(r, progress_m=float(step)) for step in range(60)] == [None] * 59 + ["time_limit"]
    assert decide(rules(), progress_m=5.0, arrived=True) == "lap"


def test_a_failure_goes_before_a_truncation():
    r = rules(time_limit_steps=1)
    assert decide(r, collision=True, offset_m=9.0, arrived=True) == "collision"
    assert decide(r, offset_m=9.0, arrived=True) == "off_road"


@pytest.mark.parametrize("name", ["off_road", "collision", "stuck"])
def test_an_ending_that_is_off_does_not_end(name):
    r = rules(**{name: False})
    for _ in range(55):
        ending = decide(r, collision=name == "collision", offset_m=9.0 if name == "off_road" else 0.0,
                        progress_m=0.0 if name == "stuck" else float(r._steps))  # fmt: skip
        assert ending is None


def test_all_names_are_known():
    assert ENDINGS == ("collision", "off_road", "stuck", "lap", "time_limit")
