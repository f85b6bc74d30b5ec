"""Which Vault a reference is asked of: the environment's, else that of the settings' file."""

from __future__ import annotations

from trust.clients import environment_with

SETTINGS = {
    "identity": {"socket": "unix:///run/api.sock", "vault": "name"},
    "vault": {"address": "https://vault:8200", "role": "agent"},
}


def test_a_settings_file_says_which_vault_and_as_who() -> None:
    found = environment_with({"HOME": "/"}, SETTINGS)
    assert (found["VAULT_ADDR"], found["VAULT_ROLE"]) == ("https://vault:8200", "agent")
    assert found["SPIFFE_ENDPOINT_SOCKET"] == found["EXECUTION_AGENT_IDENTITY__SOCKET"] == "unix:///run/api.sock"
    assert found["EXECUTION_AGENT_IDENTITY__VAULT"] == "name"
    assert found["HOME"] == "/"


def test_the_environment_wins() -> None:
    ours = {"VAULT_ADDR": "https://other:8200", "SPIFFE_ENDPOINT_SOCKET": "unix:///other"}
    found = environment_with(ours, SETTINGS)
    assert found["VAULT_ADDR"] == "https://other:8200"
    assert "VAULT_ROLE" not in found, "it is a role of the file's Vault"
    assert found["SPIFFE_ENDPOINT_SOCKET"] == "unix:///other"


def test_a_persons_own_token_logs_in_to_the_files_vault() -> None:
    found = environment_with({"VAULT_TOKEN": "t"}, SETTINGS)
    assert found["VAULT_ADDR"] == "https://vault:8200"
    assert "VAULT_ROLE" not in found
