"""The policies of one process, by dependency."""

import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from breakwater.resilience._chaos import Cohort
from breakwater.resilience._clock import Clock
from breakwater.resilience._outcome import Classify, classify_by_type
from breakwater.resilience._override import Override
from breakwater.resilience._policy import Listener, Policy
from breakwater.resilience._settings import PolicySettings
from breakwater.resilience.errors import InvalidPolicyError
from breakwater.resilience.snapshots import EdgeSnapshot


class PolicyRegistry:
    """Holds one policy for each dependency of `caller` and tells every listener of their transitions."""

    def __init__(
        self,
        caller: str,
        settings: Iterable[PolicySettings],
        *,
        clock: Clock | None = None,
        classify: Classify = classify_by_type,
        classifiers: Mapping[str, Classify] | None = None,
        rng: random.Random | None = None,
        cohort: Cohort | None = None,
    ) -> None:
        """`classifiers` replaces `classify` for the dependencies it names: each transport knows its own failures."""
        self.caller = caller
        own = classifiers or {}
        self._policies = {
            each.dependency: Policy(
                each, clock=clock, classify=own.get(each.dependency, classify), rng=rng, cohort=cohort
            )
            for each in settings
        }

    @classmethod
    def from_mapping(
        cls,
        caller: str,
        document: Mapping[str, Any],
        *,
        clock: Clock | None = None,
        classify: Classify = classify_by_type,
        classifiers: Mapping[str, Classify] | None = None,
        rng: random.Random | None = None,
        cohort: Cohort | None = None,
    ) -> Self:
        """From a parsed `policies.yaml`: `{defaults: {setting: value}, edges: {dependency: {setting: value}}}`.

        Raises `InvalidPolicyError` with every error of the whole document.
        """
        settings = _declared(caller, document)
        return cls(caller, settings, clock=clock, classify=classify, classifiers=classifiers, rng=rng, cohort=cohort)

    def __getitem__(self, dependency: str) -> Policy:
        """The policy of the edge to `dependency`; KeyError names the declared ones."""
        try:
            return self._policies[dependency]
        except KeyError:
            declared = ", ".join(sorted(self._policies)) or "none"
            raise KeyError(f"no policy {self.caller} -> {dependency}; declared: {declared}") from None

    def __iter__(self) -> Iterator[Policy]:
        return iter(self._policies.values())

    def listen(self, listener: Listener) -> None:
        """Adds a listener for all edges; it must return at once."""
        for policy in self:
            policy.listen(listener)

    def snapshots(self) -> tuple[EdgeSnapshot, ...]:
        """One of each edge, in the order of declaration."""
        return tuple(policy.snapshot() for policy in self)

    def reload(self, document: Mapping[str, Any]) -> tuple[str, ...]:
        """Takes another document for the same edges, whole or not at all; the dependencies whose settings changed.

        Nothing in flight is lost (`Policy.reconfigure`). Raises `InvalidPolicyError` with every error of the document,
        an edge too many or too few included: those need a new process.
        """
        settings = {each.dependency: each for each in _declared(self.caller, document)}
        errors = [f"{self.caller} -> {name}: is new, restart to have it" for name in settings.keys() - self._policies]
        errors += [f"{self.caller} -> {name}: is missing, it is in use" for name in self._policies.keys() - settings]
        if errors:
            raise InvalidPolicyError(tuple(sorted(errors)))
        changed = tuple(name for name, policy in self._policies.items() if policy.settings != settings[name])
        for name in changed:
            self._policies[name].reconfigure(settings[name])
        return changed

    def apply(self, dependency: str, override: Override | None, *, caller: str | None = None) -> bool:
        """Overrides the edge to `dependency` (None ends it); False where it is another caller's, or not declared."""
        if caller not in {None, self.caller} or dependency not in self._policies:
            return False
        self._policies[dependency].apply(override)
        return True


def _declared(caller: str, document: Mapping[str, Any]) -> tuple[PolicySettings, ...]:
    errors = [f"{name}: unknown section" for name in document if name not in {"defaults", "edges"}]
    defaults, edges = ({} if document.get(name) is None else document[name] for name in ("defaults", "edges"))
    for name, section in (("defaults", defaults), ("edges", edges)):
        if not isinstance(section, Mapping):
            errors.append(f"{name}: must be a mapping")
    if errors:
        raise InvalidPolicyError(tuple(errors))
    settings = []
    for dependency, values in edges.items():
        if not isinstance(values, Mapping | None):
            errors.append(f"{caller} -> {dependency}: must be a mapping")
            continue
        try:
            settings.append(PolicySettings.from_mapping(caller, dependency, {**defaults, **(values or {})}))
        except InvalidPolicyError as broken:
            errors.extend(broken.errors)
    if errors:
        raise InvalidPolicyError(tuple(errors))
    return tuple(settings)
