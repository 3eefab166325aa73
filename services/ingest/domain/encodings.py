"""A body as it came → the body without compression, never more of it than is taken, however small it came."""

import zlib

import cramjam

from libs.common.errors import Malformed
from services.ingest.domain.limits import BODY, oversized

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZLIB, _RAW = 15, -15  # what zlib calls the two forms that are sent as "deflate"
_MEMBERS = 16
_MARK = b"\xef\xbb\xbf"
_TAKEN = frozenset((b"", b"identity", b"gzip", b"x-gzip", b"deflate", b"zstd"))


def require_encoding(encoding: bytes) -> None:
    """Raises Malformed on a Content-Encoding that is not taken."""
    if encoding not in _TAKEN:
        named = encoding.decode("latin-1")[:20]
        raise Malformed(f"the body's encoding {named} is not taken: send gzip, deflate, zstd, or none")


def decoded(body: bytes, encoding: bytes = b"", limit: int = BODY) -> bytes:
    """The body without compression and without a byte order mark.

    gzip and zstd are known by their first bytes, with which no JSON begins; deflate by the `encoding` alone. Stops as
    soon as `limit` is passed: raises Oversized; Malformed on what is broken.
    """
    if body.startswith(_GZIP):
        body = _gunzip(body, limit)
    elif body.startswith(_ZSTD):
        body = _unzstd(body, limit)
    elif encoding == b"deflate" and body:
        body = _inflate(body, limit)
    if len(body) > limit:
        raise oversized(limit)
    return body.removeprefix(_MARK)


def _gunzip(body: bytes, limit: int) -> bytes:
    text = bytearray()
    for _ in range(_MEMBERS):
        inflate = zlib.decompressobj(wbits=31)
        try:
            text += inflate.decompress(body, limit + 1 - len(text))
        except zlib.error as error:
            raise Malformed(f"the body is not valid gzip: {error}") from error
        if len(text) > limit:
            raise oversized(limit)
        if not inflate.eof:
            raise Malformed("the gzip body ends too early: was it cut on its way?")
        if not (body := inflate.unused_data):
            return bytes(text)
    raise Malformed(f"the gzip body has more than {_MEMBERS} members: compress it in one piece")


def _inflate(body: bytes, limit: int) -> bytes:
    """As the standard says, in zlib's wrapping; many send it without."""
    for form in (_ZLIB, _RAW):
        inflate = zlib.decompressobj(form)
        try:
            text = inflate.decompress(body, limit + 1)
        except zlib.error as error:
            fault = error
            continue
        if len(text) > limit:
            raise oversized(limit)
        if not inflate.eof:
            raise Malformed("the deflated body ends too early: was it cut on its way?")
        return text
    raise Malformed(f"the body is not valid deflate: {fault}")


def _unzstd(body: bytes, limit: int) -> bytes:
    text = bytearray(limit + 1)
    try:
        size = cramjam.zstd.decompress_into(body, text)
    except cramjam.DecompressionError as error:
        if "whole buffer" in str(error):  # it has no other name for what does not fit
            raise oversized(limit) from None
        raise Malformed(f"the body is not valid zstd ({error}): was it cut on its way?") from None
    if size > limit:
        raise oversized(limit)
    return bytes(memoryview(text)[:size])
