"""The overlap rule of key rotation: a valid token is refused nowhere, whichever key signed it (contract-gate.md).

A new key is published, later it signs, later the old one is withdrawn. Between the first two every verifier must have
looked at the key set; between the last two every token of the old key must have ended. `KeySource` and `ServiceSigner`
hold to it whatever is published: a new key does not sign too early, an old one is not forgotten too early.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rotation:
    """One change of a signing key, in seconds of one clock."""

    published_s: float
    """The new key stands in the key set, beside the old one."""
    signs_s: float
    """The new key signs, the old one does no more."""
    withdrawn_s: float
    """The old key stands in the key set no more."""


@dataclass(frozen=True, slots=True)
class OverlapRule:
    """Both keys must be published for at least `overlap_s`: cache life + token life + skew."""

    cache_s: float
    """Longest time for which a verifier may know an old key set: its refresh, and what a source may be out."""
    token_s: float
    """Longest life of a token."""
    skew_s: float
    """How far two clocks may be apart."""

    @property
    def overlap_s(self) -> float:
        return self.cache_s + self.token_s + self.skew_s

    @property
    def kept_s(self) -> float:
        """How long a withdrawn key is remembered.

        Its owner may have learned of the next key one cache life late, and signs with the old one for another.
        """
        return 2 * self.cache_s + self.token_s + self.skew_s

    def problems(self, rotation: Rotation) -> tuple[str, ...]:
        """In which ways a rotation breaks the rule; empty when it keeps it."""
        known_s = rotation.signs_s - rotation.published_s
        kept_s = rotation.withdrawn_s - rotation.signs_s
        problems = []
        if known_s < self.cache_s:
            problems.append(
                f"the new key signs {known_s:g} s after it is published; verifiers may need {self.cache_s:g} s to know it"
            )
        if kept_s < self.token_s + self.skew_s:
            problems.append(
                f"the old key is withdrawn {kept_s:g} s after it last signed; its tokens may be used for"
                f" {self.token_s + self.skew_s:g} s"
            )
        return tuple(problems)
