"""A service with one route for each thing that can go wrong."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import asyncpg
from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, field_validator

from libs.common.errors import Conflict
from libs.common.http.auth.keyring import generate_keys
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from libs.common.http.problems import AddMembers
from libs.common.runtime.component import Component
from libs.common.service import assemble, serve
from libs.common.settings import Settings

PRIVATE, PUBLIC = generate_keys()
router = APIRouter(prefix="/v1/things", tags=["things"])


class Line(BaseModel):
    points: int = Field(gt=0)


class Thing(BaseModel):
    name: str
    lines: list[Line] = []
    anything: Any = None

    @field_validator("name")
    @classmethod
    def _one_word(cls, name: str) -> str:
        if name == "two words":
            raise ValueError("a name is one word")
        return name


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = ""


@router.get("/open")
async def open_to_all() -> dict[str, str]:
    return {"hello": "world"}


@router.get("/mine")
async def mine(who: Annotated[Principal, Depends(require("customers:read", "rewards:read"))]) -> dict[str, str]:
    return {"subject": who.subject}


@router.post("")
async def make(thing: Thing) -> Thing:
    return thing


@router.post("/strict")
async def strict(thing: Strict, key: Annotated[str, Header(alias="Idempotency-Key")]) -> str:
    return f"{key}: {thing.name}"


@router.post("/raw")
async def raw(request: Request) -> dict[str, int]:
    return {"bytes": len(await request.body())}


@router.get("/named/{name}")
@router.patch("/named/{name}")
async def named(name: str) -> dict[str, str]:
    return {"name": name}


@router.get("/named/{name}/more")
async def more(name: str) -> dict[str, Any]:
    return {"name": name, "more": True}


@router.put("/named/{name}")
async def put(name: str) -> dict[str, str]:
    return {"name": name}


@router.get("/fail/{how}")
async def fail(how: Literal["conflict", "bug", "refused", "timeout", "closed", "late"]) -> Any:
    match how:
        case "conflict":
            raise Conflict("The thing is taken.", by="bob")
        case "bug":
            raise KeyError("a secret")
        case "refused":
            await asyncio.open_connection("127.0.0.1", 1)
        case "timeout":
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        case "closed":
            raise asyncpg.InterfaceError("connection is closed")
        case "late":
            return StreamingResponse(_broken())


async def _broken() -> Any:
    yield b"the beginning"
    raise RuntimeError("half way")


@router.get("/slow")
async def slow(request: Request) -> dict[str, str]:
    request.app.state.waiting = True
    await request.app.state.lifecycle.draining.wait()
    return {"finished": "yes"}


@router.get("/waiting")
async def waiting(request: Request) -> bool:
    return getattr(request.app.state, "waiting", False)


def create(
    settings: Settings, components: Sequence[Component] = (), members: AddMembers | None = None, *more: APIRouter
) -> Any:
    return assemble(
        "tiny",
        "Tiny",
        settings,
        components,
        [router, *more],
        body_limits={"/v1/things/raw": 10_000},
        problem_members=members,
    )


if __name__ == "__main__":
    serve("tiny", create, Settings)
