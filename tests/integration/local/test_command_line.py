"""What `rapport` refuses before it starts anything, and the tokens it signs."""

import os
import socket
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import jwt
import pytest

from deploy.local import files, ports, tokens
from deploy.local.errors import PortTaken
from deploy.local.owner import Owner
from deploy.local.service import ROOT
from libs.common.contracts.registry import OWN_SCOPES
from libs.common.http.auth.keyring import Keyring, generate_keys
from libs.common.http.auth.tokens import mint
from libs.common.http.auth.verifier import Verifier
from libs.common.settings import Settings


def rapport(home: Path, *words: str, base: int = 8001) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "RAPPORT_HOME": str(home), "RAPPORT_PORT_BASE": str(base)}
    command = [sys.executable, "-m", "deploy.cli", *words]
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_a_taken_port_is_named_with_the_variable_that_moves_it(home: Path) -> None:
    base = ports.free_base()
    with socket.create_server(("127.0.0.1", base + 2)):
        ended = rapport(home, "run", base=base)
    assert ended.returncode == 1
    assert f"Port {base + 2} for rewards is taken" in ended.stderr
    assert "RAPPORT_PORT_BASE" in ended.stderr
    assert not (home / "postgres").exists()


def test_kafkas_ports_are_checked_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(PortTaken, match="for Kafka is taken"):
        ports.refuse_taken({"Kafka": taken.getsockname()[1]})


def test_a_second_runner_on_the_same_data_is_refused(home: Path) -> None:
    home.mkdir()
    first = Owner(home, "runner").acquire()
    ended = rapport(home, "run", base=ports.free_base())
    first.release()
    assert ended.returncode == 1
    assert f"in use by process {os.getpid()}" in ended.stderr
    assert "RAPPORT_HOME" in ended.stderr


def test_a_port_base_that_is_no_number_is_refused(home: Path) -> None:
    env = {**os.environ, "RAPPORT_HOME": str(home), "RAPPORT_PORT_BASE": "web"}
    command = [sys.executable, "-m", "deploy.cli", "run"]
    ended = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, "RAPPORT_PORT_BASE is 'web'" in ended.stderr) == (1, True)


def test_a_token_is_signed_for_its_scope_with_a_key_that_only_we_can_read(home: Path) -> None:
    printed = rapport(home, "token", "--scope", "rewards:read rewards:write", "--sub", "ann", "--ttl", "60").stdout
    public = tokens.public_key_file(home).read_text()
    claims = jwt.decode(printed.strip(), public, algorithms=["EdDSA"], audience="rapport", issuer="rapport")
    assert (claims["sub"], claims["scope"], claims["exp"] - claims["iat"]) == ("ann", "rewards:read rewards:write", 60)
    assert stat.S_IMODE(tokens.private_key_file(home).stat().st_mode) == 0o600


def test_a_role_has_its_scopes_and_the_key_stays_the_same(home: Path) -> None:
    printed = [rapport(home, "token", "--role", "operator").stdout.strip() for _ in range(2)]
    public = tokens.public_key_file(home).read_text()
    for token in printed:
        claims = jwt.decode(token, public, algorithms=["EdDSA"], audience="rapport", issuer="rapport")
        assert {"operate", "sources:read", "sources:write"} < set(claims["scope"].split())


def test_a_customers_own_token_is_signed_with_the_businesss_key(home: Path) -> None:
    token = rapport(home, "token", "--customer", "user:ann").stdout.strip()
    settings = Settings(
        jwt_public_key_file=tokens.public_key_file(home), customer_public_key_file=tokens.customer_public_key_file(home)
    )
    who = Verifier(settings).verify(token)
    assert (who.customer, sorted(who.scopes)) == ("user:ann", sorted(OWN_SCOPES))
    assert stat.S_IMODE(tokens.customer_private_key_file(home).stat().st_mode) == 0o600
    assert jwt.get_unverified_header(token)["kid"] in Keyring.read(settings.customer_public_key, "x").keys


def test_a_key_that_was_added_for_a_change_of_keys_stays(home: Path) -> None:
    rapport(home, "token", "--role", "operator")
    public = tokens.public_key_file(home)
    next_private, next_public = generate_keys()
    public.write_text(public.read_text() + next_public)
    token = rapport(home, "token", "--role", "operator").stdout.strip()
    checks = Verifier(Settings(jwt_public_key_file=public))
    assert checks.verify(token).subject == checks.verify(mint(next_private, "development", [], timedelta(1))).subject


def test_a_token_that_nobody_would_take_is_not_made(home: Path) -> None:
    for words, said in (
        (("--scope", "rewards:wirte"), "There is no scope rewards:wirte; the scopes are customers:erase"),
        (("--role", "operator", "--ttl", "0"), "--ttl of 1 or more"),
        (("--role", "operator", "--key", str(ROOT / "Makefile")), "holds no private key"),
        (("--role", "operator", "--key", str(home / "none.pem")), "cannot be read"),
    ):
        ended = rapport(home, "token", *words)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert said in ended.stderr
        assert "Traceback" not in ended.stderr


def test_a_new_key_is_told_of(home: Path) -> None:
    assert "Made a new key" in rapport(home, "token", "--role", "operator").stderr
    assert rapport(home, "token", "--role", "operator").stderr == ""


@pytest.mark.parametrize("words", [("run",), ("token", "--role", "operator")])
def test_a_home_that_is_no_folder_is_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    file = tmp_path / "file"
    file.touch()
    for home in (file, file / "inside"):
        ended = rapport(home, *words, base=ports.free_base())
        assert ended.returncode == 1
        assert f"cannot be kept in {home}" in ended.stderr
        assert "Traceback" not in ended.stderr


def test_a_private_file_is_private_from_its_first_byte(home: Path) -> None:
    home.mkdir()
    file = home / "tokens.json"
    files.write_private(file, "{}")
    files.write_private(file, '{"a": 1}')
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ('{"a": 1}', 0o600)


@pytest.mark.parametrize("words", [(), ("fly",), ("run", "--fast"), ("token",)])
def test_wrong_usage_exits_with_2(home: Path, words: tuple[str, ...]) -> None:
    ended = rapport(home, *words)
    assert (ended.returncode, "usage: rapport" in ended.stderr) == (2, True)
