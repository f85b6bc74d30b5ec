"""Archives that open in years: what is kept of a day, encrypted, locked, listed in signed manifests.

``settings`` what is configured; ``records`` which rows make up an archive; ``digest`` what equal rows are;
``manifest`` what a day's archive says of itself; ``library`` the store, the keys and the manifests together;
``writing``, ``verifying``, ``dropping`` and ``access`` what is done with them; ``assets`` what Dagster runs.
Reading needs the object store and the key service, never Postgres.
"""
