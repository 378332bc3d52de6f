"""Who calls: service tokens between processes, callers' tokens at the gateway.

Ed25519 only (architecture.md, Rules).
"""

from breakwater.chassis.auth.claims import Claims, Reason, TokenRefusedError
from breakwater.chassis.auth.keys import (
    DevelopmentKeyError,
    KeySetError,
    KeySource,
    new_private_jwk,
    public_jwk,
)
from breakwater.chassis.auth.rotation import OverlapRule, Rotation
from breakwater.chassis.auth.sign import ServiceSigner
from breakwater.chassis.auth.verify import CALLER_AUDIENCE, CallerVerifier, ServiceVerifier, Verifier

__all__ = [
    "CALLER_AUDIENCE",
    "CallerVerifier",
    "Claims",
    "DevelopmentKeyError",
    "KeySetError",
    "KeySource",
    "OverlapRule",
    "Reason",
    "Rotation",
    "ServiceSigner",
    "ServiceVerifier",
    "TokenRefusedError",
    "Verifier",
    "new_private_jwk",
    "public_jwk",
]
