"""What an object store's answers mean: this object is not given, or no object is; the key is taken; no lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trust.errors import AlreadyStoredError, StoreError, UnreadableError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

_GONE = frozenset({"NoSuchKey", "NoSuchVersion", "404"})
_TAKEN = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412"})
# of a request about locks to a bucket without them; InvalidRequest of a read means something else
_NO_LOCK = frozenset({"NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "InvalidRequest"})
# What a read is refused with because of the object: it is encrypted under the putter's own key (SSE-C:
# InvalidRequest, of SeaweedFS InvalidArgument; KMS), is theirs by its ACL (AccessDenied), or is in a storage class
# that is not read at once (InvalidObjectState). HEAD has no body, and so no code but its status.
_REFUSED_READ = frozenset({400, 403})
# the same statuses because of who asks: then no object is given
_NOT_LET_IN = frozenset(
    {
        "AccountProblem", "AllAccessDisabled", "AuthorizationHeaderMalformed", "ExpiredToken",
        "InvalidAccessKeyId", "InvalidSecurity", "InvalidToken", "NotSignedUp", "RequestExpired",
        "RequestTimeTooSkewed", "RequestTimeout", "SignatureDoesNotMatch", "TokenRefreshRequired",
    }
)  # fmt: skip


def told(error: ClientError, bucket: str, what: str, *, reads: bool) -> StoreError:
    """Give the store's answer as one of our errors."""
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    place = f"s3://{bucket}/{what}"
    if code in _TAKEN:
        return AlreadyStoredError(f"{place}: there is another object under this key")
    if code in _GONE:
        return StoreError(f"{place}: there is no such object")
    if reads and status in _REFUSED_READ and code not in _NOT_LET_IN:
        return UnreadableError(f"{place}: the store does not give this object: {error}")
    if not reads and code in _NO_LOCK:
        return StoreError(f"bucket {bucket}: it was made without Object Lock: make a new one")
    return StoreError(f"{place}: {error}")
