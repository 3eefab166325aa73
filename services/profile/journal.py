"""What profile writes into the journal: records with the snapshot of their customer."""

from collections.abc import Sequence

from libs.common.contracts.records import Binding, Fact, display_name, spliced
from libs.common.log.append import Outgoing
from services.profile.domain.decide import Cause, fact_record
from services.profile.domain.identity import LoadedCustomer
from services.profile.domain.journey import AsOf, Journey
from services.profile.domain.state import micros


def journalled(
    loaded: LoadedCustomer,
    fact: Fact,
    cause: Cause,
    place: str | None,
    journey: Journey,
    effect: str | None = None,
    *,
    name: str | None = None,
    bound: Sequence[Binding] = (),
) -> Outgoing:
    """A fact of profile's on its customer, with their snapshot, as the next record of the journal on their key.

    `journey` are the rules of stages. `name` is the name by which readers are notified, the fact's own if None. `bound`
    are the identifiers that it binds.
    """
    record = fact_record(cause, loaded, fact, place, effect)
    loaded.state.facts += 1
    value = spliced(record, loaded.snapshot(AsOf(micros(cause.received), journey), bound))
    return Outgoing(str(loaded.id), value, cause.at, name or display_name(fact.TYPE))
