"""All tables of rewards, its features' too."""

from services.rewards.features import FEATURES
from services.rewards.tables import CUSTOMERS, FOLD, SHARED, TIMERS, metadata, programmes, standings, tallies

__all__ = ["CUSTOMERS", "FEATURES", "FOLD", "SHARED", "TIMERS", "metadata", "programmes", "standings", "tallies"]
