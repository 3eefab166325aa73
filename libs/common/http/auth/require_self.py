"""A customer's token gives access to their own data only: `{ref}` must lead to the customer of the token's subject."""

from typing import Any, Protocol
from uuid import UUID

from libs.common.db.pool import Tx
from libs.common.errors import Forbidden, Invalid, NotFound
from libs.common.http.auth.tokens import Principal


class Resolves(Protocol):
    """What finds a customer by any of their identifiers, past merges (`libs.common.fold.customers`)."""

    async def resolve(self, tx: Tx, ref: str) -> UUID: ...


async def require_self(tx: Tx, customers: Resolves, who: Principal, ref: str) -> None:
    """Raises Forbidden when `who` is a customer and `ref` does not lead to them: in the same words whether or not it leads
    to anybody, so that nobody learns who is a customer here. NotFound when nothing is known of themselves yet."""
    if who.customer is None or ref == who.customer:
        return
    own = await customers.resolve(tx, who.customer)
    try:
        asked: Any = await customers.resolve(tx, ref)
    except (NotFound, Invalid):
        asked = None
    if asked != own:
        raise Forbidden(f"This token gives access to the data of {who.customer} only.")
