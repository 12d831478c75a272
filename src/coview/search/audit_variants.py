"""The policies that an audit compares: the crop, each operation added to it, all, all but one."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from coview.views import Policy, RandomResizedCrop
from coview.views.operation import Operation
from coview.views.record import operation_keys

FRAME = RandomResizedCrop(scale=(0.2, 1.0))
"""What every view passes first if the policy has no crop: without one, nothing could be lost."""

Kept = tuple[str, ...]
"""Names of the operations that a variant has, in the policy's order."""


class Comparison(NamedTuple):
    """Two variants that differ in one operation."""

    without: Kept
    having: Kept


@dataclass(frozen=True, kw_only=True)
class Variants:
    """A policy of two views and what becomes of it when operations are left out.

    Attributes:
        policy: The two views.
        keys: Names of the operations in order of first use; a second blur is "blur 2".
        crops: Those that are crops, to which the others are added when they are judged alone.
    """

    policy: Policy
    keys: Kept
    crops: Kept

    @classmethod
    def of(cls, policy: Any) -> "Variants":  # noqa: ANN401
        """Return the variants of a policy's first two views.

        Raises:
            ValueError: If it is no `Policy`, has fewer than two views, or no operation.
        """
        if not isinstance(policy, Policy):
            raise ValueError(
                f"views must be a Policy, not {type(policy).__name__}: only operations can be left "
                "out one by one"
            )
        if len(policy.views) < 2:
            raise ValueError(
                f"views {policy.name!r} makes {len(policy.views)} view; information is what two "
                "views share"
            )
        if len(set(policy.sizes[:2])) > 1:
            raise ValueError(f"views {policy.name!r}: the first two have sizes {policy.sizes[:2]}")
        two = replace(policy, views=policy.views[:2], sizes=policy.sizes[:2])
        named = [pair for view in two.views for pair in _named(view)]
        if not named:
            raise ValueError(f"views {policy.name!r} has no operation to audit")
        return cls(
            policy=two,
            keys=tuple(dict.fromkeys(key for key, _ in named)),
            crops=tuple(
                dict.fromkeys(key for key, op in named if isinstance(op, RandomResizedCrop))
            ),
        )

    def keep(self, kept: Iterable[str]) -> Policy:
        """Return the policy with these operations only; without any crop, `FRAME` comes first."""
        wanted = set(kept)
        first = () if self.crops else (FRAME,)
        views = tuple(
            first + tuple(op for key, op in _named(view) if key in wanted)
            for view in self.policy.views
        )
        return replace(self.policy, name=name_of(self.ordered(wanted)), views=views)

    def without(self, key: str) -> Policy:
        """Return the policy as it is, but for one operation."""
        return replace(
            self.policy,
            views=tuple(
                tuple(op for name, op in _named(view) if name != key) for view in self.policy.views
            ),
        )

    def only(self, key: str) -> Policy:
        """Return the operation as each view has it, without any other."""
        return Policy(
            name=key,
            views=tuple(
                (op,) for view in self.policy.views for name, op in _named(view) if name == key
            ),
        )

    def ordered(self, kept: Iterable[str]) -> Kept:
        """Return names in the policy's order."""
        wanted = set(kept)
        return tuple(key for key in self.keys if key in wanted)

    def alone(self, key: str) -> Comparison:
        """Return what the operation changes when it is added to the crop."""
        others = {*self.crops} - {key}
        return Comparison(self.ordered(others), self.ordered(others | {key}))

    def left_out(self, key: str) -> Comparison:
        """Return what the operation changes when it is added to all others."""
        return Comparison(self.ordered({*self.keys} - {key}), self.keys)

    def all(self) -> tuple[Kept, ...]:
        """Return every variant that some comparison needs, each once."""
        pairs = [compare(key) for key in self.keys for compare in (self.alone, self.left_out)]
        return tuple(dict.fromkeys(side for pair in pairs for side in pair))


def _named(view: tuple[Operation, ...]) -> list[tuple[str, Operation]]:
    return list(zip(operation_keys(view), view, strict=True))


def name_of(kept: Kept) -> str:
    """Return the name of a variant."""
    return " + ".join(kept) or "nothing"
