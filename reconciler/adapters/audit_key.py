"""Signs the audit log with the key that systemd hands to the reconciler as a credential, if this host has one."""

import base64
import hashlib

from reconciler.core.state.audit import Signer

NAME = "audit.key"


class AuditKeyError(Exception):
    """The key cannot be used; the message says why."""


def audit_signer() -> Signer | None:
    """Make the signer of the key `audit.key`, an Ed25519 key in PEM form; None where none is given.

    Raises AuditKeyError for one that cannot be used.
    """
    from reconciler.adapters.credentials import CredentialError, file_of, read_text

    try:
        path = file_of(NAME)
        if path is None:
            return None
        text = read_text(path, NAME).encode()
    except CredentialError as error:
        raise AuditKeyError(str(error)) from None
    # Only now: most hosts have no key, and the libraries would stay in the reconciler's memory.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(text, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise AuditKeyError(f"the credential '{NAME}' is not a key in PEM form without a passphrase") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise AuditKeyError(f"the credential '{NAME}' is no Ed25519 key; make one with openssl genpkey")
    public = key.public_key().public_bytes_raw()
    return Signer(hashlib.sha256(public).hexdigest()[:16], lambda said: base64.b64encode(key.sign(said)).decode())
