"""What must be there before the programs start: databases, the schema, the archive bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
import psycopg
from botocore.config import Config
from botocore.exceptions import ClientError
from psycopg import sql

from ledger.db.migrate import migrate
from operations.dead_letters import ADMINISTRATOR
from operations.main_job.logins import Login, give_database, make_logins
from operations.main_job.programs import ARCHIVE_BUCKET, DAGSTER_DATABASE, LEDGER_DATABASE
from trust.private_files import write_private

if TYPE_CHECKING:
    from operations.embedded.endpoints import Endpoints
    from operations.embedded.state import StateFolder


def prepare(endpoints: Endpoints, state: StateFolder) -> str:
    """Make what is missing; give the schema's revision."""
    with psycopg.connect(endpoints.postgres_url("postgres"), autocommit=True) as connection:
        for name in (LEDGER_DATABASE, DAGSTER_DATABASE):
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
            if found is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    make_bucket(endpoints)
    revision = migrate(endpoints.postgres_url(LEDGER_DATABASE))
    make_logins(endpoints, state)
    write_private(state.path / ADMINISTRATOR, endpoints.postgres_url(LEDGER_DATABASE))
    give_database(endpoints, DAGSTER_DATABASE, Login.DAGSTER)
    return revision


def make_bucket(endpoints: Endpoints, name: str = ARCHIVE_BUCKET) -> None:
    """Make the bucket of archives and checkpoints, with Object Lock, where it is missing."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoints.s3_endpoint,
        aws_access_key_id=endpoints.s3_access_key,
        aws_secret_access_key=endpoints.s3_secret_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
    )
    try:
        client.head_bucket(Bucket=name)
    except ClientError:
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
