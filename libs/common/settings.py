"""Settings: read once from the environment (`RAPPORT_…`), passed as an argument, never imported."""

import re
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_ORIGIN = re.compile(r"https?://[a-z0-9.\-\[\]:]+")


def _origins(given: object) -> object:
    if not isinstance(given, str):
        return given
    origins = tuple(part.strip() for part in given.split(",") if part.strip())
    if any(not _ORIGIN.fullmatch(origin) for origin in origins):
        raise ValueError("an origin is scheme and host, lower case and without a path: https://shop.example")
    return origins


class Settings(BaseSettings):
    """What every service reads. A secret may be given in a file instead: `RAPPORT_X_FILE` beside `RAPPORT_X`."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_", extra="ignore")

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, description="port to listen on")

    database_url: SecretStr = Field(default=SecretStr(""), description="postgresql://user:password@host:5432/database")
    database_password_file: Path | None = Field(
        default=None, description="file with the database's password, in the place of the one in the URL"
    )
    database_tls: Literal["disable", "prefer", "require", "verify-full"] = Field(
        default="prefer", description="TLS to PostgreSQL: disable, prefer, require or verify-full"
    )
    database_ca_file: Path | None = Field(default=None, description="certificates that verify-full trusts, PEM")
    pool_size: int = Field(default=8, ge=3, le=200, description="PostgreSQL connections for this process's routes")

    log: Literal["postgres", "kafka"] = Field(
        default="postgres", description="where the log is read from: postgres or kafka"
    )
    partitions: int = Field(default=8, ge=1, le=256, description="of every topic; fixed once the database is made")
    topic_prefix: str = Field(default="", description="prefix of the topics' names in Kafka")
    segment_records: int = Field(
        default=50_000,
        ge=10,
        description="offsets in a segment of a topic's table; the journal's has ten times as many",
    )
    keep_days: float = Field(
        default=7, ge=0, description="days that records which every reader has passed stay in PostgreSQL's log"
    )
    keep_journal_days: float = Field(default=0, ge=0, description="the same of the journal; 0: for ever")
    kafka_bootstrap: str = Field(default="127.0.0.1:9092", description="brokers, host:port, comma separated")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
    )
    kafka_sasl_username: str = Field(default="", description="user at the brokers")
    kafka_sasl_password: SecretStr = Field(default=SecretStr(""), description="their password")
    kafka_sasl_password_file: Path | None = Field(default=None, description="file with that password")
    kafka_ca_file: Path | None = Field(default=None, description="certificates of brokers that are trusted, PEM")
    kafka_replication: int = Field(default=1, ge=1, description="copies of each partition of the topics we create")

    jwt_public_key: str = Field(
        default="", description="Ed25519, PEM, for this installation's tokens; several while keys are changed"
    )
    jwt_public_key_file: Path | None = Field(default=None, description="file with that key or these keys")
    customer_public_key: str = Field(
        default="",
        description="Ed25519, PEM, for customers' tokens, which the business's backend signs; several may be",
    )
    customer_public_key_file: Path | None = Field(default=None, description="file with that key or these keys")
    installation_key: SecretStr = Field(
        default=SecretStr(""),
        description="Ed25519 private key, PEM: signs certificates of erasure, and keys the hashes of erased identifiers."
        " Profile and ingest need it; it never changes",
    )
    installation_key_file: Path | None = Field(default=None, description="file with that key")
    jwks_url: str = Field(default="", description="where an identity provider publishes its keys (JWKS)")
    jwks_issuer: str = Field(default="", description="`iss` of the identity provider's tokens")
    jwks_audience: str = Field(default="rapport", description="`aud` that the identity provider's tokens must have")
    jwks_scope_claim: str = Field(default="scope", description="the claim that holds the scopes: a text or a list")
    jwks_refresh_seconds: float = Field(
        default=30, gt=0, description="in which the identity provider is asked for an unknown key at most once"
    )

    browser_origins: Annotated[Sequence[str], NoDecode, BeforeValidator(_origins)] = Field(
        default=(),
        description="origins, comma separated (https://shop.example), whose pages may read points, inboxes and scores",
    )

    workspace_timezone: str = Field(
        default="UTC", description="the workspace's IANA time zone: its days are the business's days"
    )
    default_currency: str = Field(
        default="USD", pattern="^[A-Z]{3}$", description="ISO 4217; of amounts whose source names none"
    )
    body_limit: int = Field(default=1_000_000, description="largest REST body in bytes")
    body_seconds: float = Field(default=10, gt=0, description="in which a REST body must have arrived")
    head_seconds: float = Field(default=10, gt=0, description="in which a request's headers must have arrived")
    drain_seconds: float = Field(
        default=0, ge=0, description="from SIGTERM, when /readyz says so, to the port's closing"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error"
    )

    @field_validator("workspace_timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            return ZoneInfo(name).key
        except (ValueError, KeyError, OSError) as error:  # no name, none that is known, a folder of names
            raise ValueError("no such time zone: give an IANA name, such as Europe/Berlin or UTC") from error

    @property
    def zone(self) -> ZoneInfo:
        """The workspace's time zone: its days are the business's days."""
        return ZoneInfo(self.workspace_timezone)

    @model_validator(mode="after")
    def _read_secret_files(self) -> Self:
        if self.database_password_file:
            password = self.database_password_file.read_text().strip()
            self.database_url = SecretStr(_with_password(self.database_url.get_secret_value(), password))
        if self.kafka_sasl_password_file:
            self.kafka_sasl_password = SecretStr(self.kafka_sasl_password_file.read_text().strip())
        if self.jwt_public_key_file:
            self.jwt_public_key = self.jwt_public_key_file.read_text()
        if self.customer_public_key_file:
            self.customer_public_key = self.customer_public_key_file.read_text()
        return self

    @model_validator(mode="after")
    def _identity_provider(self) -> Self:
        if not self.jwks_url:
            return self
        parts = urlsplit(self.jwks_url)
        on_loopback = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
        if parts.scheme != "https" and not on_loopback:
            raise ValueError("RAPPORT_JWKS_URL must begin with https: who could change the keys could be anybody")
        if self.jwks_issuer in ("", "rapport"):
            raise ValueError("RAPPORT_JWKS_ISSUER is not set: give the `iss` of the identity provider's tokens")
        if self.jwks_audience in ("", "rapport-customer"):
            raise ValueError("RAPPORT_JWKS_AUDIENCE is wrong: give the `aud` of the identity provider's tokens")
        return self

    @classmethod
    def load(cls, service: str) -> Self:
        """The settings of one service: `RAPPORT_REWARDS_X` (say) where it is set, else `RAPPORT_X`."""
        common = cls()
        own = cls(_env_prefix=f"RAPPORT_{service.upper()}_")
        return common.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})

    @property
    def dsn(self) -> str:
        """The database's address, for asyncpg. Raises ValueError when none is set."""
        if not (url := self.database_url.get_secret_value()):
            raise ValueError(
                "RAPPORT_DATABASE_URL is not set: give the PostgreSQL address, postgresql://user@host/database"
            )
        return url.replace("postgresql+asyncpg://", "postgresql://")

    def database_ssl(self) -> ssl.SSLContext | Literal["disable", "prefer", "require", "verify-full"]:
        """What asyncpg takes as `ssl`: a context when certificates are to be checked, else the mode."""
        if "host=/" in self.dsn.replace("%2F", "/"):
            return "disable"
        if self.database_tls == "verify-full":
            return ssl.create_default_context(cafile=self.database_ca_file and str(self.database_ca_file))
        return self.database_tls

    def kafka_options(self) -> dict[str, object]:
        """How aiokafka's clients reach the brokers: addresses, TLS and SASL."""
        options: dict[str, object] = {
            "bootstrap_servers": self.kafka_bootstrap,
            "security_protocol": self.kafka_security_protocol,
        }
        if "SSL" in self.kafka_security_protocol.removeprefix("SASL_"):
            options["ssl_context"] = ssl.create_default_context(cafile=self.kafka_ca_file and str(self.kafka_ca_file))
        if self.kafka_security_protocol.startswith("SASL"):
            options["sasl_mechanism"] = self.kafka_sasl_mechanism
            options["sasl_plain_username"] = self.kafka_sasl_username
            options["sasl_plain_password"] = self.kafka_sasl_password.get_secret_value()
        return options


def _with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    netloc = f"{user.split(':')[0] or 'postgres'}:{quote(password, safe='')}@{host}"
    # urlunsplit drops the "//" of an empty host, so the query is put back by hand
    return urlunsplit((parts.scheme, netloc, parts.path, urlencode(parse_qsl(parts.query)), ""))
