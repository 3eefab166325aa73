"""The customer that a route is about: who may ask, and their account."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends

from libs.common.db.pool import Tx
from libs.common.errors import NotFound
from libs.common.fold.customers import Customers
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require

#: Anybody who may read rewards, and the customer themselves.
Reader = Annotated[Principal, Depends(require("rewards:read", own="own:points"))]
Writer = Annotated[Principal, Depends(require("rewards:write"))]


async def account(tx: Tx, customers: Customers[Any], ref: str) -> tuple[UUID, Any]:
    """The customer that `ref` leads to, and their account: an empty one while nothing has earned them points.

    Raises NotFound for an identifier that nobody has, or an id of whom nothing that counts here has been received.
    """
    customer = await customers.resolve(tx, ref)
    state = await customers.state(tx, customer)
    if state is None and ref != str(customer):
        return customer, customers.blank()
    if state is None:
        raise NotFound(f"no customer {ref} is known to rewards: nothing has been received about them")
    return customer, state
