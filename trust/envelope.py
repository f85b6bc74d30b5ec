"""Parquet files that only open with their key, under their own name (Parquet modular encryption).

Every file has a data key of its own. What opens it is its key material: a small JSON that is kept outside of the
locked prefix, so that a rotation can wrap the data key anew and leave the file's bytes as they are. The footer is
plain and signed: schema and number of rows are legible without a key, columns and their statistics are not. The
object's path is the AAD prefix and is not in the file: the bytes of one object do not open as another.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec
from pyarrow.parquet.encryption import create_decryption_properties, create_encryption_properties

from trust.errors import WrongKeyError
from trust.keys import DATA_KEY_BYTES

if TYPE_CHECKING:
    from pyarrow.parquet.encryption import FileDecryptionProperties, FileEncryptionProperties

    from trust.keys import KeyService

_ALGORITHM = "AES_GCM_V1"
_VERSION = 1


class KeyMaterial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one object's data key is had: everything but the wrapping key."""

    object: str
    key_id: str
    wrapped_key: str
    algorithm: str = _ALGORITHM
    version: int = _VERSION

    def json(self) -> bytes:
        """Give the bytes that are kept."""
        return msgspec.json.encode(self)


def seal(service: KeyService, object_path: str) -> tuple[KeyMaterial, FileEncryptionProperties]:
    """Make a data key for an object: what is to be kept of it, and what writes the file.

    Raises ``KeyUnavailableError``.
    """
    data_key = secrets.token_bytes(DATA_KEY_BYTES)
    material = KeyMaterial(object_path, service.key_id, service.wrap(data_key))
    properties = create_encryption_properties(
        data_key,
        aad_prefix=object_path.encode(),
        store_aad_prefix=False,
        encryption_algorithm=_ALGORITHM,
        plaintext_footer=True,
    )
    return material, properties


def unseal(service: KeyService, material: KeyMaterial, object_path: str) -> FileDecryptionProperties:
    """Give what opens an object's file.

    Reading another file with it, or an altered one, raises ``OSError`` or ``pyarrow.ArrowInvalid``. Raises
    ``WrongKeyError`` where the material is another object's, ``KeyUnavailableError``.
    """
    if material.object != object_path:
        raise WrongKeyError(f"the key material is that of {material.object}, was asked for {object_path}")
    return create_decryption_properties(
        service.unwrap(material.wrapped_key), aad_prefix=object_path.encode(), check_footer_integrity=True
    )


def rewrapped(service: KeyService, material: KeyMaterial) -> KeyMaterial:
    """Give the material with the data key wrapped under the newest version."""
    return msgspec.structs.replace(
        material, key_id=service.key_id, wrapped_key=service.rewrap(material.wrapped_key)
    )


def read_material(content: bytes) -> KeyMaterial:
    """Read what ``KeyMaterial.json`` gave. Raises ``WrongKeyError``."""
    try:
        material = msgspec.json.decode(content, type=KeyMaterial)
    except msgspec.MsgspecError as error:
        raise WrongKeyError(f"this is no key material: {error}") from error
    if (material.algorithm, material.version) != (_ALGORITHM, _VERSION):
        raise WrongKeyError(
            f"key material {material.object}: version {_VERSION} of {_ALGORITHM} is required, "
            f"was {material.version} of {material.algorithm}"
        )
    return material
