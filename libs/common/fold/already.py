"""After a restore: a service that decides nothing on its own (profile) puts its state back in a way of its own."""

import importlib

from libs.common.db import Database
from libs.common.fold.work import Handler


async def passing_over_known(database: Database, service: str, handler: Handler) -> Handler:
    """The state brought level with the service's own topic, where a restore has taken that back; the handler to go on with,
    which passes over the inputs whose output is there already. Raises Unavailable."""
    level = importlib.import_module(f"services.{service}.restored").level
    left: Handler = await level(database, handler)
    return left
