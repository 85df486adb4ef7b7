"""The doctor's verdict as text: a row a group, then a sentence a finding."""

from __future__ import annotations

from collections.abc import Sequence

from clipdrive.doctor.evidence import Group
from clipdrive.doctor.faults import FAULTS, Finding

HEADER = ("group", "tensors", "limit", "steps", "largest norm", "in the step", "made smaller", "verdict")


def table(groups: Sequence[Group], findings: Sequence[Finding]) -> str:
    """The whole verdict, readable on 120 columns."""
    rows = [HEADER, *(_row(group, findings) for group in groups)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    for finding in findings:
        lines += ["", f"FAULT {finding}", f"      {FAULTS[finding.fault]}"]
    for group in groups:
        if group.unexplained:
            lines += ["", f"note  {group.name}: {len(group.unexplained)} logged numbers equal no norm of their step "
                          f"(first {group.unexplained[0]:.6g}): means over several steps, perhaps"]  # fmt: skip
    if not any(group.steps for group in groups):
        lines += ["", "note  no optimiser took a step while it was watched"]
    lines += ["", "not sound: " + ", ".join(dict.fromkeys(f.fault for f in findings)) if findings else "sound"]
    return "\n".join(lines)


def _row(group: Group, findings: Sequence[Finding]) -> tuple[str, ...]:
    ill = [finding.fault for finding in findings if finding.group == group.name]
    return (
        group.name,
        str(len(group.traces)),
        "none" if group.limit is None else f"{group.limit:g}",
        str(group.steps),
        f"{group.largest_before:.4g}",
        f"{group.largest_after:.4g}",
        f"{group.clipped_steps / max(group.steps, 1):.0%}",
        ", ".join(ill) or "sound",
    )
