"""Compressed bodies: what was sent comes out, whole or not at all, and never more of it than is taken."""

import gzip
import zlib
from collections.abc import Callable
from contextlib import suppress

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import Malformed
from services.ingest.domain.encodings import decoded, require_encoding
from services.ingest.domain.limits import BODY, Oversized

Pack = Callable[[bytes], bytes]


def raw_deflate(text: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(text) + packer.flush()


def zstd(text: bytes) -> bytes:
    return bytes(cramjam.zstd.compress(text))


FORMS: list[tuple[bytes, Pack]] = [
    (b"gzip", gzip.compress),
    (b"deflate", zlib.compress),
    (b"deflate", raw_deflate),
    (b"zstd", zstd),
]
each_form = pytest.mark.parametrize(("encoding", "pack"), FORMS, ids=["gzip", "deflate", "raw deflate", "zstd"])


@each_form
@given(text=st.binary(max_size=300))
def test_what_was_sent_comes_out(encoding: bytes, pack: Pack, text: bytes) -> None:
    assert decoded(pack(text), encoding) == text.removeprefix(b"\xef\xbb\xbf")


@given(st.binary(max_size=300))
def test_gzip_and_zstd_need_no_header(raw: bytes) -> None:
    if not raw.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xef\xbb\xbf")):
        assert decoded(raw) == decoded(raw, b"gzip") == raw
        assert decoded(gzip.compress(raw)) == decoded(zstd(raw)) == raw
        assert decoded(gzip.compress(raw[:100]) + gzip.compress(raw[100:])) == raw
        assert decoded(zstd(raw[:100]) + zstd(raw[100:])) == raw
    with pytest.raises(Malformed, match="gzip"):
        decoded(b"\x1f\x8b" + raw)


@each_form
def test_a_bomb_is_refused_before_it_is_unpacked(encoding: bytes, pack: Pack) -> None:
    assert decoded(pack(bytes(BODY)), encoding) == bytes(BODY)
    for size in (BODY + 1, BODY + 2, 300_000_000):
        with pytest.raises(Oversized):
            decoded(pack(bytes(size)), encoding)


@each_form
def test_what_was_cut_on_its_way_is_refused(encoding: bytes, pack: Pack) -> None:
    packed = pack(bytes(range(256)) * 20)
    for length in (5, len(packed) // 2, len(packed) - 1):
        with pytest.raises(Malformed, match="cut on its way"):
            decoded(packed[:length], encoding)


@given(st.sampled_from([b"deflate", b"zstd", b"gzip"]), st.sampled_from([b"", b"\x28\xb5\x2f\xfd"]), st.binary())
def test_any_bytes_come_out_or_are_refused(encoding: bytes, begin: bytes, rest: bytes) -> None:
    with suppress(Malformed):
        assert len(decoded(begin + rest, encoding, 1_000)) <= 1_000


def test_many_small_members_are_refused() -> None:
    with pytest.raises(Malformed, match="members"):
        decoded(gzip.compress(b"") * 100_000)


def test_an_encoding_that_is_not_taken_is_named() -> None:
    for encoding in (b"", b"identity", b"gzip", b"x-gzip", b"deflate", b"zstd"):
        require_encoding(encoding)
    for encoding in (b"br", b"compress", b"gzip, deflate"):
        with pytest.raises(Malformed, match=f"encoding {encoding.decode()} is not taken: send gzip, deflate, zstd"):
            require_encoding(encoding)
