"""When a failed delivery is tried again: ten attempts over about three days."""

import random
from datetime import timedelta

#: Seconds between one attempt and the next.
PAUSES = (5, 60, 600, 3600, 3 * 3600, 8 * 3600, 14 * 3600, 20 * 3600, 26 * 3600)
ATTEMPTS = len(PAUSES) + 1


def pause(attempts: int, retry_after: float | None) -> timedelta | None:
    """How long to wait after so many attempts, with jitter; at least as long as the receiver asked. None: give up."""
    if attempts >= ATTEMPTS:
        return None
    seconds = PAUSES[attempts - 1] * random.uniform(0.9, 1.1)  # noqa: S311 (jitter, not a secret)
    return timedelta(seconds=max(seconds, retry_after or 0.0))
