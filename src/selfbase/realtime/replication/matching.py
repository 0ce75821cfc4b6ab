"""From a batch of changes to the frames of those who want them and may see them.

For each change: the groups of subscribers whose table, kind and filters fit; the rights of their
role; then row level security, once for each caller and batch.  Frames are written in the order of
the changes and encoded once for all who get the same bytes.
Source: reference/realtime.md sections 11 and 12.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from selfbase.database.batch import Batch, Statement
from selfbase.database.database import Database
from selfbase.http.values import encode_frame
from selfbase.realtime.authorization import LOGIN
from selfbase.realtime.logic.changes import (
    Change,
    find_problem,
    render_change,
    render_payload,
    render_problem,
)
from selfbase.realtime.logic.filters import Filter
from selfbase.realtime.logic.frames import render_message
from selfbase.realtime.logic.pgoutput import Value
from selfbase.realtime.logic.policies import NotSent, Plan
from selfbase.realtime.replication.catalog import Catalog, Rights
from selfbase.realtime.replication.subscriptions import (
    CallerKey,
    Constants,
    Group,
    Judged,
    Place,
    Registry,
    Subscription,
)
from selfbase.realtime.replication.visibility import Visibility

# in: JSON array of {op, type, value, wanted, negate}; out: JSON array of booleans; locks: none.
_JUDGE_FILTERS = b"""
select json_agg(coalesce(realtime.check_equality_op(
  (f ->> 'op')::realtime.equality_op, (f ->> 'type')::oid::regtype, f ->> 'value', f ->> 'wanted',
  (f ->> 'negate')::boolean), false) order by place)
from json_array_elements($1::json) with ordinality as w (f, place)
"""


@dataclass(slots=True)
class Match:
    """One change and one group that wants it.  `places` are those who may see it, None while
    that is open; `problem` stands in for the values.  `newcomers` are those of `places` whose
    policy hid the row from them as it was before."""

    number: int
    change: Change
    group: Group
    rights: Rights
    problem: str | None = None
    places: Iterable[Place] | None = None
    unsure: list[Place] = field(default_factory=list)
    newcomers: frozenset[Place] = frozenset()
    questions: list[tuple[Filter, int, str]] = field(default_factory=list)


class Matcher:
    """Matches batches of changes with the subscriptions of this worker."""

    def __init__(self, database: Database, registry: Registry, *, record_bytes_max: int) -> None:
        self.catalog = Catalog(database)
        self.visibility = Visibility(database)
        self._database = database
        self._registry = registry
        self._record_bytes_max = record_bytes_max

    def forget(self) -> None:
        """Everything known of tables, rights and callers is asked for anew."""
        self.catalog.forget()
        self.visibility.forget()

    async def deliver(self, changes: Sequence[Change]) -> int:
        """Writes what each subscriber gets; the number of frames.  Raises DatabaseFailure."""
        matches = await self._find_matches(changes)
        if not matches:
            return 0
        await self._judge_filters(matches)
        matches = [match for match in matches if not match.questions]
        for match in matches:
            await self._judge_here(match)
        await self._judge_there(matches)
        unrendered = {item for match in matches for item in match.change.find_unrendered()}
        if unrendered:
            await self.catalog.render_values(list(unrendered))
        return self._write(matches)

    async def _find_matches(self, changes: Sequence[Change]) -> list[Match]:
        matches: list[Match] = []
        for number, change in enumerate(changes):
            row: Mapping[str, Value] | None = None
            for group in self._registry.find_groups(change):
                rights = await self.catalog.get_rights(change.table, group.role)
                match = Match(number, change, group, rights)
                if group.filters:
                    row = change.judged_row() if row is None else row
                    if not self._passes(match, row):
                        continue
                match.problem = find_problem(change, rights.selectable)
                matches.append(match)
        return matches

    def _passes(self, match: Match, row: Mapping[str, Value]) -> bool:
        """Judges the filters it can; the others become questions of the match."""
        types = {column.name: column.type.oid for column in match.change.table.columns}
        for part, test in match.group.tests(match.change.table):
            # A filter on a column the role may not read would tell its value by matching.
            if part.column not in match.rights.selectable or part.column not in row:
                return False
            value = row[part.column]
            if value is not None and not isinstance(value, str):
                return False
            if test is not None:
                if not test(value):
                    return False
            elif value is None:
                return part.op == "isdistinct" and not part.negate
            else:
                match.questions.append((part, types[part.column], value))
        return True

    async def _judge_filters(self, matches: Sequence[Match]) -> None:
        """Asks PostgreSQL about the filters left open; a match with a no keeps its questions."""
        open_ = [match for match in matches if match.questions]
        asked = [
            {
                "op": part.op,
                "type": str(type_oid),
                "value": value,
                "wanted": part.value,
                "negate": part.negate,
            }
            for match in open_
            for part, type_oid, value in match.questions
        ]
        if not asked:
            return
        batch = Batch(
            plan_key="realtime",
            settings=((b"search_path", b""), (b"statement_timeout", b"10000")),
            statements=(Statement(_JUDGE_FILTERS, (orjson.dumps(asked),)),),
            read_only=True,
        )
        result = (await self._database.run(batch, login=LOGIN))[0]
        answers = iter(orjson.loads(result.rows[0][0] or b"[]"))
        for match in open_:
            own = [next(answers) for _ in match.questions]
            if all(own):
                match.questions.clear()

    async def _judge_here(self, match: Match) -> None:
        """Decides who sees the change without asking, as far as that is possible."""
        group, rights, change = match.group, match.rights, match.change
        everyone = group.places.values()
        if match.problem or not rights.is_limited or change.kind == "DELETE":
            match.places = everyone
        elif rights.plan is None:
            match.places, match.unsure = [], list(everyone)
        else:
            judged = await self._get_judged(rights.plan, group)
            seen, match.unsure = _judge(judged, change, group)
            match.places, match.newcomers = seen, _find_newcomers(judged, change, seen)

    async def _get_judged(self, plan: Plan, group: Group) -> Judged:
        judged = group.judged
        if judged is None or judged.plan is not plan or judged.version != group.version:
            version, places = group.version, list(group.places.values())
            constants = await self.visibility.find_constants(plan, places)
            judged = group.judged = _make_judged(plan, version, places, constants)
        return judged

    async def _judge_there(self, matches: Sequence[Match]) -> None:
        """Asks PostgreSQL as each caller about all rows of the batch that are still open."""
        tables: dict[int, dict[int, Change]] = {}
        callers: dict[int, dict[CallerKey, Place]] = {}
        for match in matches:
            if match.unsure:
                oid = match.change.table.oid
                tables.setdefault(oid, {})[match.number] = match.change
                callers.setdefault(oid, {}).update((place.key, place) for place in match.unsure)
        for oid, changes in tables.items():
            places = list(callers[oid].values())
            table = next(iter(changes.values())).table
            found = await self.visibility.find_visible(
                table, changes, [place.caller for place in places]
            )
            visible = {place.key: seen for place, seen in zip(places, found, strict=True)}
            for match in matches:
                if match.unsure and match.change.table.oid == oid:
                    seen = [p for p in match.unsure if match.number in visible[p.key]]
                    match.places = [*(match.places or ()), *seen]

    def _write(self, matches: Sequence[Match]) -> int:
        count, start = 0, 0
        while start < len(matches):
            end = start
            while end < len(matches) and matches[end].number == matches[start].number:
                end += 1
            count += self._write_change(matches[start:end])
            start = end
        return count

    def _write_change(self, matches: Sequence[Match]) -> int:
        """One frame for each subscription and each set of columns, naming all its bindings."""
        change = matches[0].change
        if len(matches) == 1:
            return self._write_match(change, matches[0])
        wanted: dict[tuple[Subscription, bytes], list[int]] = {}
        rendered: dict[tuple[frozenset[str], str | None, bool], bytes] = {}
        for match in matches:
            whole, lesser = self._render_both(change, match, rendered)
            for place in match.places or ():
                data = lesser if place in match.newcomers else whole
                for subscription, ids in place.seats.items():
                    wanted.setdefault((subscription, data), []).extend(ids)
        frames: dict[tuple[str, int, tuple[int, ...], bytes], bytes] = {}
        for (subscription, data), all_ids in wanted.items():
            key = (subscription.topic, subscription.version, tuple(all_ids), data)
            frame = frames.get(key)
            if frame is None:
                frame = frames[key] = _make_frame(*key)
            subscription.write(frame)
        return len(wanted)

    def _write_match(self, change: Change, match: Match) -> int:
        """The common case: one group, so that nobody can be met twice with other columns."""
        whole, lesser = self._render_both(change, match, {})
        frames: dict[tuple[str, int, tuple[int, ...], bool], bytes] = {}
        newcomers, count = match.newcomers, 0
        for place in match.places or ():
            hides_old = place in newcomers
            for subscription, ids in place.seats.items():
                key = (subscription.topic, subscription.version, ids, hides_old)
                frame = frames.get(key)
                if frame is None:
                    frame = frames[key] = _make_frame(*key[:3], lesser if hides_old else whole)
                subscription.write(frame)
                count += 1
        return count

    def _render_both(
        self,
        change: Change,
        match: Match,
        rendered: dict[tuple[frozenset[str], str | None, bool], bytes],
    ) -> tuple[bytes, bytes]:
        """The data for those who see all of the change, and for its newcomers."""
        whole = self._render(change, match, rendered, hides_old=False)
        if not match.newcomers:
            return whole, whole
        return whole, self._render(change, match, rendered, hides_old=True)

    def _render(
        self,
        change: Change,
        match: Match,
        rendered: dict[tuple[frozenset[str], str | None, bool], bytes],
        *,
        hides_old: bool,
    ) -> bytes:
        shown = match.rights.selectable
        if match.group.select is not None:
            shown &= frozenset((*match.group.select, *change.table.key))
        data = rendered.get((shown, match.problem, hides_old))
        if data is None:
            if match.problem is not None:
                data = render_problem(change, match.problem)
            else:
                data = render_change(
                    change,
                    shown,
                    self.catalog.look_up,
                    record_bytes_max=self._record_bytes_max,
                    hides_old=hides_old,
                )
            rendered[(shown, match.problem, hides_old)] = data
        return data


def _make_frame(topic: str, version: int, ids: tuple[int, ...], data: bytes) -> bytes:
    payload = render_payload(ids, data)
    return encode_frame(render_message(version, None, None, topic, "postgres_changes", payload))


def _make_judged(
    plan: Plan, version: int, places: list[Place], constants: dict[CallerKey, Constants]
) -> Judged:
    unknown = [place for place in places if place.key not in constants]
    by_value: dict[str, list[Place]] = {}
    if plan.index is not None:
        for place in places:
            known = constants.get(place.key)
            value = known[plan.index[1]] if known is not None else None
            if value is not None:
                by_value.setdefault(value, []).append(place)
    return Judged(plan, version, constants, unknown, by_value)


def _judge(judged: Judged, change: Change, group: Group) -> tuple[list[Place], list[Place]]:
    """Those who see the row, and those only PostgreSQL can tell about."""
    row = change.judged_row()
    candidates: Iterable[Place] = group.places.values()
    if judged.plan.index is not None:
        # Only those can see it whose constant is what the row has.
        value = row.get(judged.plan.index[0])
        if value is None:
            candidates = ()
        elif isinstance(value, str):
            candidates = judged.by_value.get(value, ())
    seen: list[Place] = []
    try:
        for place in candidates:
            known = judged.constants.get(place.key)
            if known is not None and judged.plan.judge(row, known) is True:
                seen.append(place)
    except NotSent:
        return [], list(group.places.values())
    return seen, judged.unknown


def _find_newcomers(judged: Judged, change: Change, seen: Iterable[Place]) -> frozenset[Place]:
    """Those who see the row now and could not before: its old values are not for them."""
    row = change.replaced_row()
    if row is None:
        return frozenset()
    hidden = []
    for place in seen:
        try:
            could_see = judged.plan.judge(row, judged.constants[place.key]) is True
        except NotSent:
            could_see = False
        if not could_see:
            hidden.append(place)
    return frozenset(hidden)
