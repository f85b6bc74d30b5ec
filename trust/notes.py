"""Signed notes and the checkpoints in them (c2sp.org/signed-note, c2sp.org/tlog-checkpoint)."""

from __future__ import annotations

import base64
import binascii
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from trust.errors import KeyUnavailableError, NoteError
from trust.merkle import HASH_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

_ED25519 = b"\x01"
_DASH = "— "
_ID_BYTES = 4
_CHECKPOINT_LINES = 3


class Signer(Protocol):
    """Whoever can sign as one key: a key file, Vault's Transit engine."""

    @property
    def key(self) -> NoteKey:
        """The public half."""

    def sign(self, message: bytes) -> bytes:
        """Give the Ed25519 signature (64 bytes); raises ``TrustError`` where the key is out of reach."""


class NoteKey(NamedTuple):
    """A key's name, which is a URL without scheme, and its Ed25519 public key (32 bytes)."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """The four bytes that say which key made a signature line."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_ID_BYTES]

    def __str__(self) -> str:
        """Write it as a verifier key: name+id+key, as witnesses and ``note`` tools take it."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"


class Checkpoint(NamedTuple):
    """A tree's state: ``origin`` names the log, ``root`` is the hash over its first ``size`` leaves."""

    origin: str
    size: int
    root: bytes

    def body(self) -> str:
        """Give the text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def parse_key(text: str) -> NoteKey:
    """Read a verifier key. Raises ``NoteError`` where it is none, or its id is not that of its key."""
    name, _, rest = text.strip().partition("+")
    written_id, _, encoded = rest.partition("+")
    material = _base64(encoded, "verifier key")
    if not _is_name(name) or material[:1] != _ED25519 or len(material) != 1 + HASH_BYTES:
        raise NoteError(f"verifier key {text!r}: name+id+base64 of an Ed25519 key is required")
    key = NoteKey(name, material[1:])
    if key.id.hex() != written_id:
        raise NoteError(f"verifier key {text!r}: its id is {key.id.hex()}, was {written_id}")
    return key


def sign_note(text: str, signers: Sequence[Signer]) -> str:
    """Give the note: the text, an empty line, a line for each signature."""
    if not text.endswith("\n") or any(ord(letter) < ord(" ") and letter != "\n" for letter in text):
        raise NoteError("a note's text ends with a newline and has no other control characters")
    return text + "\n" + "".join(_signature_line(text, signer) for signer in signers)


def _signature_line(text: str, signer: Signer) -> str:
    """Raises ``KeyUnavailableError`` where the key was changed in between: nobody could open the note."""
    key, signature = signer.key, signer.sign(text.encode())
    if not check_signature(key, signature, text.encode()):
        raise KeyUnavailableError(f"{key.name}: the key that signs was changed meanwhile: sign again")
    return f"{_DASH}{key.name} {base64.b64encode(key.id + signature).decode()}\n"


def open_note(note: str, keys: Sequence[NoteKey]) -> str:
    """Give the text of a note that at least one of ``keys`` has signed.

    A signature of a known key that is wrong refuses the note; those of unknown keys are ignored, as the
    specification wants. Raises ``NoteError``.
    """
    text, gap, signatures = note.rpartition("\n\n")
    if not gap or not signatures.endswith("\n"):
        raise NoteError("a signed note is a text, an empty line and signature lines")
    text += "\n"
    known = {(key.name, key.id): key for key in keys}
    signed = False
    for line in signatures.removesuffix("\n").split("\n"):
        if not line.startswith(_DASH):
            raise NoteError(f"signature line {line!r} does not start with an em dash")
        name, _, encoded = line[len(_DASH) :].partition(" ")
        material = _base64(encoded, "signature")
        key = known.get((name, material[:_ID_BYTES]))
        if key is None:
            continue
        _check(key, material[_ID_BYTES:], text.encode())
        signed = True
    if not signed:
        raise NoteError(f"none of the keys {', '.join(key.name for key in keys) or '(none)'} has signed this note")
    return text


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a checkpoint; lines after the third are extensions and ignored. Raises ``NoteError``."""
    lines = text.split("\n")
    if len(lines) <= _CHECKPOINT_LINES or not lines[0]:
        raise NoteError("a checkpoint has the lines origin, size and root")
    origin, size, root = lines[:_CHECKPOINT_LINES]
    if not (size.isascii() and size.isdigit()) or (size.startswith("0") and size != "0"):
        raise NoteError(f"checkpoint size {size!r}: a decimal number without leading zeros is required")
    digest = _base64(root, "checkpoint root")
    if len(digest) != HASH_BYTES:
        raise NoteError(f"checkpoint root: {HASH_BYTES} bytes are required, was {len(digest)}")
    return Checkpoint(origin, int(size), digest)


def check_signature(key: NoteKey, signature: bytes, message: bytes) -> bool:
    """Whether ``key`` made this Ed25519 signature of ``message``."""
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _check(key: NoteKey, signature: bytes, message: bytes) -> None:
    if not check_signature(key, signature, message):
        raise NoteError(f"the signature of {key.name} is not that of this text: it was altered, or the key was")


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(letter.isspace() for letter in name)


def _base64(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteError(f"{what} {text!r} is not base64: {error}") from None
