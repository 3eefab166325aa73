"""What decides on the events of each source now: blocked ids, tracking plan, private fields. Look-ups, no queries."""

from functools import lru_cache

import msgspec

from services.ingest.blocked_ids import BlockedIds
from services.ingest.build_records import EntryRules
from services.ingest.domain import private_fields
from services.ingest.domain.private_fields import PrivateFields
from services.ingest.plan.in_force import PlansInForce
from services.ingest.queries import Grant


class RulesInForce:
    """`hash_key` is the key of private fields that are hashed; without one they are dropped."""

    def __init__(self, blocked: BlockedIds, plans: PlansInForce, hash_key: str) -> None:
        self._blocked = blocked
        self._plans = plans
        self._compiled = lru_cache(maxsize=1_000)(lambda text: _compiled(text, hash_key.encode()))

    def of(self, grant: Grant) -> EntryRules:
        """What decides on the events of a source."""
        declared = grant.private_fields
        private = None if declared is None else self._compiled(declared)
        return EntryRules(self._blocked.values, self._plans.of(grant.source_id), private)


def _compiled(text: str, key: bytes) -> PrivateFields:
    return private_fields.rules(msgspec.json.decode(text), key)
