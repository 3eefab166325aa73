"""What searches find and rank customers by: the tables `terms` and `ranks`, written with the customers."""

from collections.abc import Iterable

from libs.common.db import bulk
from libs.common.db.pipeline import Pipeline
from services.profile import models
from services.profile.domain.identity import LoadedCustomer
from services.profile.domain.terms import Findable, changes

_FIND = bulk.insert(models.terms, ("customer", "term"), "ON CONFLICT DO NOTHING")
_LOSE = bulk.delete(models.terms)
_RANK = bulk.insert(
    models.ranks, ("customer", "by", "value"), "ON CONFLICT (customer, by) DO UPDATE SET value = excluded.value"
)
_UNRANK = bulk.delete(models.ranks)


async def save(pipeline: Pipeline, customers: Iterable[LoadedCustomer]) -> None:
    """Write what changed since it was noted. An event that changes none of it writes nothing here."""
    gone, new, ranked, unranked = [], [], [], []
    for loaded in customers:
        if (before := loaded.found_by) is None:
            continue
        after = Findable.of(loaded.state)
        changed = changes(before, after)
        gone += [(loaded.id, term) for term in sorted(changed.gone)]
        new += [(loaded.id, term) for term in sorted(changed.new)]
        ranked += [(loaded.id, by, value) for by, value in sorted(after.ranks.items()) if before.ranks.get(by) != value]
        unranked += [(loaded.id, by) for by in sorted(before.ranks.keys() - after.ranks.keys())]
    for statement, rows in ((_LOSE, gone), (_FIND, new), (_UNRANK, unranked), (_RANK, ranked)):
        if rows:
            await pipeline.execute(statement, *bulk.transposed(rows))
