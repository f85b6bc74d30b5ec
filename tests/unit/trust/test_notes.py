"""Signed notes and checkpoints, against the published example of the format."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trust.errors import NoteError
from trust.notes import Checkpoint, NoteKey, open_note, parse_checkpoint, parse_key, sign_note

# golang.org/x/mod/sumdb/note, package documentation
NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NOTE = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ROOT = bytes(range(32))


class KeyOf:
    def __init__(self, name: str, seed: int) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.key = NoteKey(name, self._private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)


OURS, THEIRS = KeyOf("example.com/log", 1), KeyOf("example.com/witness", 2)


def test_the_published_note_opens() -> None:
    key = parse_key(NEUMANN)
    assert str(key) == NEUMANN
    assert open_note(NOTE, [key]) == NOTE.partition("\n\n")[0] + "\n"


def test_a_note_that_we_sign_opens_with_either_key() -> None:
    text = Checkpoint("example.com/log", 17, ROOT).body()
    note = sign_note(text, [OURS, THEIRS])
    assert open_note(note, [OURS.key]) == open_note(note, [THEIRS.key]) == text
    assert parse_checkpoint(text) == Checkpoint("example.com/log", 17, ROOT)


def test_any_other_letter_is_found() -> None:
    note = sign_note(Checkpoint("example.com/log", 17, ROOT).body(), [OURS])
    for place, letter in enumerate(note):
        changed = note[:place] + ("B" if letter == "A" else "A") + note[place + 1 :]
        with pytest.raises(NoteError):
            open_note(changed, [OURS.key])


def test_another_signature_beside_ours_that_is_wrong_refuses_the_note() -> None:
    note = sign_note("text\n", [OURS])
    forged = base64.b64encode(THEIRS.key.id + bytes(64)).decode()
    both = f"{note}— {THEIRS.key.name} {forged}\n"
    assert open_note(both, [OURS.key]) == "text\n"  # whose key is not known is ignored
    with pytest.raises(NoteError, match="witness"):
        open_note(both, [OURS.key, THEIRS.key])


@pytest.mark.parametrize(
    ("note", "why"),
    [
        ("text\n", "an empty line"),
        ("text\n\n— a b", "signature lines"),
        ("text\n\n- example.com/log AAAA\n", "em dash"),
        ("text\n\n— example.com/log !!\n", "base64"),
        ("text\n\n— example.com/other AAAAAAAA\n", "has signed this note"),
    ],
)
def test_what_is_no_note_is_refused(note: str, why: str) -> None:
    with pytest.raises(NoteError, match=why):
        open_note(note, [OURS.key])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin\n5\n",
        "\n5\nAAAA\n",
        "origin\n05\n" + "A" * 44 + "\n",
        "origin\n-1\nAAAA\n",
        "origin\n5\nAAAA\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        parse_checkpoint(text)


@pytest.mark.parametrize("text", ["", "a+b", NEUMANN.replace("c74f", "c74e"), NEUMANN.replace("+AR", "+BR")])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(NoteError, match="verifier key"):
        parse_key(text)


def test_control_characters_are_not_signed() -> None:
    with pytest.raises(NoteError, match="control"):
        sign_note("a\rb\n", [OURS])
