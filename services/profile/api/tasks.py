"""Tasks over REST: add one for a customer, list those that are open or overdue, finish one."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from libs.common.contracts.iso_types import Moment
from libs.common.errors import Invalid
from libs.common.fold.customers import Customers
from libs.common.fold.service import ConsumerService
from services.profile import tasks
from services.profile.api.care import Key, Reader, Writer
from services.profile.commands import Commands
from services.profile.domain.commands import AddTask, FinishTask
from services.profile.domain.state import Customer

_YEARS = range(1971, 9000)


class NewTask(BaseModel):
    """What is to be done for a customer, by whom, until when. The owner is the caller if none is named."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"title": "Call about the kitchen", "due": "2027-03-01T09:00:00Z", "owner": "mary"}
        },
    )

    title: str = Field(min_length=1, max_length=500)
    due: Moment
    owner: str | None = Field(default=None, min_length=1, max_length=200)


class Task(BaseModel):
    """A task. `by` added it; `told_at` is when it was due and `Task Due` said so; `done_at` is null while it is open."""

    id: UUID
    customer: UUID = Field(description="for whom it was added; after a merge this id leads to the survivor")
    title: str
    due: datetime
    owner: str
    by: str
    created_at: datetime
    told_at: datetime | None
    done_at: datetime | None
    done_by: str | None


class Tasks(BaseModel):
    """A page of open tasks, those due earliest first."""

    items: list[Task]
    next: str | None


def task_routes(part: ConsumerService, commands: Commands) -> APIRouter:
    """Reading needs `customers:read`, writing `customers:write`."""
    router = APIRouter(prefix="/v1", tags=["tasks"])
    customers = Customers("profile", Customer)

    @router.post("/customers/{ref}/tasks", status_code=201, summary="A task for a customer", response_model=Task)
    async def add(ref: str, task: NewTask, who: Writer, key: Key = None) -> Any:
        """`Task Due` is in the timeline once it is due and not done, and can start hooks."""
        if task.due.year not in _YEARS:
            raise Invalid(f"due: give a year from {_YEARS.start} to {_YEARS.stop - 1}.")
        async with part.read() as tx:
            customer = await customers.resolve(tx, ref)
        command = AddTask(task.title, task.due, task.owner or who.subject, who.subject)
        return await commands.run(customer, command, key=key)

    @router.get("/tasks", summary="Open tasks, those due earliest first", response_model=Tasks)
    async def page(
        _: Reader,
        overdue: Annotated[bool, Query(description="only those that are due already")] = False,
        owner: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
        customer: Annotated[str | None, Query(min_length=1, max_length=600, examples=["user:ann"])] = None,
        limit: Annotated[int, Query(ge=1, le=200, description="at most so many items")] = 50,
        cursor: Annotated[str | None, Query(max_length=1000)] = None,
    ) -> dict[str, Any]:
        async with part.read() as tx:
            of = None if customer is None else await customers.resolve(tx, customer)
            return await tasks.page(tx, limit, cursor, datetime.now(UTC) if overdue else None, owner, of)

    @router.get("/tasks/{id}", summary="One task, open or done", response_model=Task)
    async def one(id: UUID, _: Reader) -> Any:
        async with part.read() as tx:
            return await tasks.load(tx, id)

    @router.post("/tasks/{id}/done", summary="A task is done", response_model=Task)
    async def finish(id: UUID, who: Writer, key: Key = None) -> Any:
        """No-op if it is done already."""
        async with part.read() as tx:
            task = await tasks.load(tx, id)
        return await commands.run(task.customer, FinishTask(id, who.subject), key=key)

    return router
