"""Progress on a terminal as a bar, elsewhere as a plain line for every tenth of the way."""

from __future__ import annotations

import sys

from tqdm import tqdm


class Progress:
    """Counts `total` units of work; `note` is shown beside the count."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self._bar = tqdm(total=total, desc=label, unit=unit) if sys.stderr.isatty() else None
        self._shown = 0

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.done += amount
        if self._bar is not None:
            self._bar.update(amount)
            if note:
                self._bar.set_postfix_str(note, refresh=False)
        elif self.done * 10 // max(self.total, 1) > self._shown:
            self._shown = self.done * 10 // max(self.total, 1)
            print(f"{self.label}: {self.done} of {self.total} {self.unit} {note}".rstrip(), file=sys.stderr, flush=True)

    def say(self, sentence: str) -> None:
        """A line beside the progress that does not pass away with it."""
        if self._bar is not None:
            self._bar.write(f"{self.label}: {sentence}", file=sys.stderr)
        else:
            print(f"{self.label}: {sentence}", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
