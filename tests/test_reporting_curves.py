"""The report's CSV: read with the columns it needs, published thin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clipdrive.reporting.curves import read_table, thinned, write_curve
from clipdrive.reporting.files import ReportError


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("a,b\n1,2\n", "lacks the columns c; it has a, b"), ("", "is not a CSV table"), (None, "cannot be read")],
)
def test_a_bad_table_is_told_in_one_sentence(tmp_path: Path, content: str | None, sentence: str) -> None:
    path = tmp_path / "rows.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ReportError, match=rf"rows.csv: {sentence}"):
        read_table(path, ["a", "c"])


def long_table(rows: int = 10_001) -> pd.DataFrame:
    number = np.arange(rows)
    table = pd.DataFrame({"update": number, "q_abs_max": 1.0, "target_min": 0.0, "q1_mean": number * 2.0})
    table["norm_before.critic"] = 1.0
    table["action_abs_mean"] = np.nan
    table.loc[::2, "action_abs_mean"] = 0.5
    table["ending"] = "lap"
    table.loc[777, ["q_abs_max", "norm_before.critic"]] = 1000.0
    table.loc[778, "target_min"] = -1000.0
    return table


def test_a_curve_has_at_most_2000_rows_and_keeps_its_spikes(tmp_path: Path) -> None:
    write_curve(tmp_path / "curves" / "updates.csv", long_table())
    thin = pd.read_csv(tmp_path / "curves" / "updates.csv")
    assert 1600 < len(thin) <= 2000
    assert thin["q_abs_max"].max() == 1000.0 and thin["norm_before.critic"].max() == 1000.0
    assert thin["target_min"].min() == -1000.0
    assert thin["update"].iloc[-1] == 10_000 and thin["update"].dtype == np.int64
    assert thin["q1_mean"].iloc[0] == np.mean([0, 2, 4, 6, 8, 10])  # bins of six rows
    assert thin["action_abs_mean"].eq(0.5).all()  # empty fields do not count
    assert thin["ending"].eq("lap").all()


def test_a_short_curve_stays_as_it_is() -> None:
    table = long_table(2000)
    pd.testing.assert_frame_equal(thinned(table), table)


def test_columns_that_only_look_like_a_maximum_are_averaged() -> None:
    table = pd.DataFrame({"maxim": [0.0, 1.0], "route_completion": [0.0, 1.0], "td_error_p99": [0.0, 1.0]})
    assert thinned(table, rows=1).iloc[0].to_dict() == {"maxim": 0.5, "route_completion": 0.5, "td_error_p99": 1.0}
