-- in: included, excluded text[]; ids bigint[]; limit, offset bigint
-- out: ordinary and partitioned tables the role has any right on, with keys in both directions
with page as materialized (
  select c.oid, n.nspname, c.relname, c.relrowsecurity, c.relforcerowsecurity, c.relreplident
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p')
    and (%(included)s::text[] is null or n.nspname = any (%(included)s::text[]))
    and (%(excluded)s::text[] is null or n.nspname <> all (%(excluded)s::text[]))
    and (%(ids)s::int8[] is null or c.oid = any (%(ids)s::int8[]::oid[]))
    and not pg_is_other_temp_schema(n.oid)
    and (
      pg_has_role(c.relowner, 'USAGE')
      or has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
      or has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
    )
  order by n.nspname, c.relname
  limit %(limit)s::int8 offset %(offset)s::int8
),
-- The keys are found once for the whole page: pg_constraint has no index by referenced table.
keys as materialized (
  select k.oid, k.conname, k.conrelid, k.confrelid, k.conkey, k.confkey
  from pg_constraint k
  where k.contype = 'f'
    and (k.conrelid in (select oid from page) or k.confrelid in (select oid from page))
),
pairs as materialized (
  select
    k.conrelid,
    k.confrelid,
    k.oid,
    pair.place,
    jsonb_build_object(
      'id', k.oid::int8,
      'constraint_name', k.conname,
      'source_schema', sn.nspname,
      'source_table_name', s.relname,
      'source_column_name', sa.attname,
      'target_table_schema', tn.nspname,
      'target_table_name', t.relname,
      'target_column_name', ta.attname
    ) as relationship
  from keys k
  cross join lateral unnest(k.conkey, k.confkey) with ordinality as pair (source, target, place)
  join pg_class s on s.oid = k.conrelid
  join pg_namespace sn on sn.oid = s.relnamespace
  join pg_attribute sa on sa.attrelid = s.oid and sa.attnum = pair.source
  join pg_class t on t.oid = k.confrelid
  join pg_namespace tn on tn.oid = t.relnamespace
  join pg_attribute ta on ta.attrelid = t.oid and ta.attnum = pair.target
),
relationships as materialized (
  select owner, jsonb_agg(relationship order by oid, place) as list
  from (
    select conrelid as owner, oid, place, relationship from pairs
    union all
    select confrelid, oid, place, relationship from pairs where confrelid <> conrelid
  ) both_ends
  group by owner
)
select
  p.oid::int8 as id,
  p.nspname as schema,
  p.relname as name,
  p.relrowsecurity as rls_enabled,
  p.relforcerowsecurity as rls_forced,
  case p.relreplident
    when 'd' then 'DEFAULT' when 'i' then 'INDEX' when 'f' then 'FULL' else 'NOTHING'
  end as replica_identity,
  space.bytes,
  pg_size_pretty(space.bytes) as size,
  pg_stat_get_live_tuples(p.oid) as live_rows_estimate,
  pg_stat_get_dead_tuples(p.oid) as dead_rows_estimate,
  obj_description(p.oid, 'pg_class') as comment,
  coalesce(
    (
      select jsonb_agg(
        jsonb_build_object(
          'table_id', p.oid::int8, 'schema', p.nspname, 'table_name', p.relname, 'name', a.attname
        )
        order by part.place
      )
      from pg_index i
      cross join lateral unnest(i.indkey[0:i.indnkeyatts - 1]) with ordinality as part (number, place)
      join pg_attribute a on a.attrelid = i.indrelid and a.attnum = part.number
      where i.indrelid = p.oid and i.indisprimary
    ),
    '[]'
  ) as primary_keys,
  coalesce(r.list, '[]') as relationships
from page p
-- A table dropped in this moment has no size any more.
cross join lateral (select coalesce(pg_total_relation_size(p.oid), 0)::int8 as bytes) space
left join relationships r on r.owner = p.oid
order by p.nspname, p.relname
