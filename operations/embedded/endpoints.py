"""Where the servers of a stack are found, and with what credentials."""

from __future__ import annotations

from urllib.parse import quote

import msgspec


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses and credentials of the running servers; a field is empty if its server was not asked for."""

    postgres_host: str = ""
    postgres_port: int = 0
    postgres_user: str = ""
    postgres_password: str = ""
    redis_url: str = ""
    kafka_bootstrap: str = ""
    s3_endpoint: str = ""
    s3_access_key: str = ""
    s3_secret_key: str = ""
    vault_addr: str = ""
    vault_token: str = ""

    def postgres_url(self, database: str, driver: str = "postgresql") -> str:
        """The URL of one database; `driver` is the URL's scheme (`postgresql+psycopg` for SQLAlchemy)."""
        credentials = f"{quote(self.postgres_user, safe='')}:{quote(self.postgres_password, safe='')}"
        place = f"{self.postgres_host}:{self.postgres_port}"
        return f"{driver}://{credentials}@{place}/{quote(database, safe='')}"
