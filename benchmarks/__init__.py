"""One command per figure of the README; each long one goes on where it was stopped."""

import clipdrive  # noqa: F401 - first, for it says how torch's threads wait, which torch reads when it is imported
