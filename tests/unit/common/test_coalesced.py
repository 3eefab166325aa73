"""What is written arrives as it was; the head of an answer goes out with what follows it, or when nothing does."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from libs.common.http.fast.connection import CoalescedWrites

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


class End:
    """The other end of a corked connection."""

    def __init__(self, theirs: socket.socket) -> None:
        self._socket = theirs

    def arrived(self) -> bytes | None:
        """What has arrived since the last time; None when nothing has, b"" when the connection was closed."""
        try:
            return self._socket.recv(1_000_000)
        except BlockingIOError:
            return None

    async def next(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self._socket, 1_000_000)


@pytest.fixture
async def ends() -> AsyncIterator[tuple[CoalescedWrites, End]]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    yield CoalescedWrites(transport, asyncio.get_running_loop()), End(theirs)
    transport.abort()
    theirs.close()


async def test_a_head_waits_for_its_body(ends: tuple[CoalescedWrites, End]) -> None:
    corked, end = ends
    for body in (b"{}", b"x\r\n\r\n"):
        corked.write(HEAD)
        assert end.arrived() is None
        corked.write(body)
        assert end.arrived() == HEAD + body


async def test_a_head_without_a_body_goes_out_all_the_same(ends: tuple[CoalescedWrites, End]) -> None:
    corked, end = ends
    corked.write(HEAD)
    assert await end.next() == HEAD
    corked.write(b"later")
    assert end.arrived() == b"later"


async def test_closing_sends_what_waits(ends: tuple[CoalescedWrites, End]) -> None:
    corked, end = ends
    corked.write(HEAD)
    corked.close()
    assert corked.is_closing()
    assert await end.next() == HEAD
    assert await end.next() == b""


async def test_aborting_does_not(ends: tuple[CoalescedWrites, End]) -> None:
    corked, end = ends
    corked.write(HEAD)
    corked.abort()
    assert await end.next() == b""
