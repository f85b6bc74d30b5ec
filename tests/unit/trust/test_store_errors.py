"""One object that is not given is told from a store that lets nobody in, and from one that is away."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from trust.errors import AlreadyStoredError, StoreError, UnreadableError
from trust.store_errors import told


def answered(code: str, status: int) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "GetObject",
    )


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        pytest.param("InvalidRequest", 400, UnreadableError, id="SSE-C on S3 and MinIO"),
        pytest.param("InvalidArgument", 400, UnreadableError, id="SSE-C on SeaweedFS"),
        pytest.param("400", 400, UnreadableError, id="HEAD of it"),
        pytest.param("AccessDenied", 403, UnreadableError, id="a KMS key or an ACL of somebody else's"),
        pytest.param("KMS.DisabledException", 400, UnreadableError, id="a KMS key that is disabled"),
        pytest.param("InvalidObjectState", 403, UnreadableError, id="an archived storage class"),
        pytest.param("InvalidAccessKeyId", 403, StoreError, id="we are not let in"),
        pytest.param("ExpiredToken", 400, StoreError, id="our token is too old"),
        pytest.param("RequestTimeTooSkewed", 403, StoreError, id="our clock"),
        pytest.param("SlowDown", 503, StoreError, id="busy"),
        pytest.param("InternalError", 500, StoreError, id="broken"),
        pytest.param("NoSuchKey", 404, StoreError, id="gone"),
    ],
)
def test_what_a_refused_read_means(code: str, status: int, kind: type[StoreError]) -> None:
    said = told(answered(code, status), "firm", "manifests/x", reads=True)
    assert type(said) is kind
    assert str(said).startswith("s3://firm/manifests/x: ")
    assert "Object Lock" not in str(said)


def test_a_refused_write_is_never_one_objects_fault() -> None:
    assert "made without Object Lock" in str(told(answered("InvalidRequest", 400), "firm", "x", reads=False))
    assert type(told(answered("AccessDenied", 403), "firm", "x", reads=False)) is StoreError
    assert type(told(answered("PreconditionFailed", 412), "firm", "x", reads=False)) is AlreadyStoredError
