"""Who is present in one room, as far as this worker knows, and what changed.

Each worker owns the entries of its own channels and numbers its changes; others copy them.  Since
only the owner writes an entry, merging needs no clocks: the higher number wins, a missing number
asks for the owner's whole state, and a lost owner takes its entries with it.
Source: reference/realtime.md section 6; Phoenix presence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

Meta = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One presence: `meta` carries `phx_ref`, and `phx_ref_prev` when it replaced another."""

    key: str
    ref: str
    meta: Meta


@dataclass(slots=True)
class Diff:
    """Entries that came and went."""

    joins: list[Entry] = field(default_factory=list)
    leaves: list[Entry] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.joins or self.leaves)

    def add(self, later: Diff) -> None:
        """Takes in what happened after this: who came and went unseen was never there."""
        for gone in later.leaves:
            unseen = next((entry for entry in self.joins if entry.ref == gone.ref), None)
            if unseen is None:
                self.leaves.append(gone)
            else:
                self.joins.remove(unseen)
        self.joins.extend(later.joins)


@dataclass(slots=True)
class _Owner:
    version: int = 0
    entries: dict[str, Entry] = field(default_factory=dict)


class OutOfStep(Exception):
    """A change of another worker was missed: ask it for its whole state."""


class PresenceState:
    """The presences of one room.  `version` starts higher each time a worker makes the room anew."""

    __slots__ = ("_own", "_owners")

    def __init__(self, owner: str, version: int = 0) -> None:
        self._own = owner
        self._owners: dict[str, _Owner] = {owner: _Owner(version)}

    @property
    def own_version(self) -> int:
        return self._owners[self._own].version

    def __len__(self) -> int:
        return sum(len(owner.entries) for owner in self._owners.values())

    def track(self, member: str, key: str, ref: str, payload: Mapping[str, Any]) -> Diff:
        """Sets the presence of one of our channels (`member`).  The same payload changes nothing."""
        own = self._owners[self._own]
        before = own.entries.get(member)
        meta = {**payload, "phx_ref": ref}
        diff = Diff()
        if before is not None:
            if before.key == key and _payload(before.meta) == _payload(meta):
                return diff
            meta["phx_ref_prev"] = before.ref
            diff.leaves.append(before)
        entry = Entry(key, ref, meta)
        own.entries[member] = entry
        own.version += 1
        diff.joins.append(entry)
        return diff

    def untrack(self, member: str) -> Diff:
        """Takes back the presence of one of our channels."""
        own = self._owners[self._own]
        gone = own.entries.pop(member, None)
        if gone is None:
            return Diff()
        own.version += 1
        return Diff(leaves=[gone])

    def merge(self, owner: str, version: int, entries: Iterable[Entry]) -> Diff:
        """Takes over the whole state of another worker, unless a newer one is known."""
        if owner == self._own:
            return Diff()
        known = self._owners.setdefault(owner, _Owner())
        if version < known.version:
            return Diff()
        fresh = {entry.ref: entry for entry in entries}
        diff = Diff(
            joins=[entry for ref, entry in fresh.items() if ref not in known.entries],
            leaves=[entry for ref, entry in known.entries.items() if ref not in fresh],
        )
        known.version, known.entries = version, fresh
        return diff

    def apply(self, owner: str, version: int, change: Diff) -> Diff:
        """Takes in the change that made another worker's state `version`.  Raises OutOfStep."""
        known = self._owners.get(owner)
        if owner == self._own or (known is not None and version <= known.version):
            return Diff()
        if known is None or version != known.version + 1:
            raise OutOfStep(owner)
        known.version = version
        diff = Diff()
        for gone in change.leaves:
            if known.entries.pop(gone.ref, None) is not None:
                diff.leaves.append(gone)
        for entry in change.joins:
            known.entries[entry.ref] = entry
            diff.joins.append(entry)
        return diff

    def drop_owner(self, owner: str) -> Diff:
        """Forgets a worker that is gone."""
        known = self._owners.pop(owner, None) if owner != self._own else None
        return Diff(leaves=list(known.entries.values())) if known else Diff()

    def drop_others(self, alive: Iterable[str]) -> Diff:
        """Forgets every worker that is not among `alive`."""
        diff = Diff()
        for owner in set(self._owners) - {self._own, *alive}:
            diff.add(self.drop_owner(owner))
        return diff

    def list_own(self) -> list[Entry]:
        return list(self._owners[self._own].entries.values())

    def list_all(self) -> list[Entry]:
        return [entry for owner in self._owners.values() for entry in owner.entries.values()]


def _payload(meta: Meta) -> Meta:
    return {name: meta[name] for name in meta if name not in ("phx_ref", "phx_ref_prev")}


def render_state(entries: Iterable[Entry]) -> bytes:
    """The `presence_state` payload."""
    return orjson.dumps(_group(entries))


def render_diff(diff: Diff) -> bytes:
    """The `presence_diff` payload."""
    return orjson.dumps({"joins": _group(diff.joins), "leaves": _group(diff.leaves)})


def _group(entries: Iterable[Entry]) -> dict[str, dict[str, list[Meta]]]:
    grouped: dict[str, dict[str, list[Meta]]] = {}
    for entry in entries:
        grouped.setdefault(entry.key, {"metas": []})["metas"].append(entry.meta)
    return grouped


def pack_entries(entries: Iterable[Entry]) -> list[list[Any]]:
    """Entries as JSON values for the bus."""
    return [[entry.key, entry.ref, entry.meta] for entry in entries]


def unpack_entries(packed: Iterable[Iterable[Any]]) -> list[Entry]:
    return [Entry(str(key), str(ref), dict(meta)) for key, ref, meta in packed]
