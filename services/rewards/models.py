"""All tables of rewards, its features' too."""

from services.rewards.features import FEATURES
from services.rewards.tables import (
    CUSTOMERS,
    FOLD,
    SHARED,
    TIMERS,
    daily_totals,
    metadata,
    programmes,
    standing_days,
    standings,
)

__all__ = [
    "CUSTOMERS",
    "FEATURES",
    "FOLD",
    "SHARED",
    "TIMERS",
    "daily_totals",
    "metadata",
    "programmes",
    "standing_days",
    "standings",
]
