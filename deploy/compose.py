"""The secrets that docker-compose.yml reads: `python -m deploy.compose` creates those that are missing.

Two database passwords, the key pairs of the tokens, the secrets of double opt-in and of hashed fields, and the
installation's key. Only the owner can enter their folder (0700). Any account can read the files that a container mounts
(0644), because the processes in it run as other accounts than the folder's owner. No container mounts the tokens' private
keys (0600): `rapport token` signs with them.
"""

import secrets
from pathlib import Path

from deploy.local import tokens
from deploy.local.files import write_private

HOME = Path(__file__).parents[1] / ".rapport" / "compose"
PASSWORDS = ("database-password", "database-superuser-password")
READABLE = 0o644


def make_secrets(home: Path) -> Path:
    """Create the missing files in `home/secrets` and return that folder. Existing files stay unchanged."""
    tokens.make_keys(home)
    folder = tokens.private_key_file(home).parent
    folder.chmod(0o700)
    for name in PASSWORDS:
        if not (folder / name).exists():
            write_private(folder / name, secrets.token_urlsafe(24))
        (folder / name).chmod(READABLE)
    tokens.public_key_file(home).chmod(READABLE)
    tokens.customer_public_key_file(home).chmod(READABLE)
    tokens.consent_secret_file(home).chmod(READABLE)
    tokens.hash_key_file(home).chmod(READABLE)
    tokens.installation_key_file(home).chmod(READABLE)
    return folder


def main() -> None:
    """Create them, and print the next steps."""
    print(f"The secrets are in {make_secrets(HOME)}.")
    print("Next:     docker compose up --wait")
    print("A token:  RAPPORT_HOME=.rapport/compose .venv/bin/rapport token --role operator")


if __name__ == "__main__":
    main()
