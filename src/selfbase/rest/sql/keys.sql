-- out: one json array of primary and foreign keys:
--   [name, 'p' or 'f', table oid, columns as [number, name], foreign table oid or 0,
--    foreign columns as [number, name], whether a foreign key's columns are a key of their own,
--    whether it was inherited from a partitioned parent].  Locks none.
with keys as (
  select * from pg_constraint
  where contype in ('p', 'u', 'f') and connamespace <> 'pg_catalog'::regnamespace
),
near as (
  select k.oid, json_agg(json_build_array(a.attnum, a.attname) order by ord) as columns,
    array_agg(number order by number) as sorted
  from keys k, unnest(k.conkey) with ordinality as _(number, ord), pg_attribute a
  where a.attrelid = k.conrelid and a.attnum = number
  group by k.oid
),
far as (
  select k.oid, json_agg(json_build_array(a.attnum, a.attname) order by ord) as columns
  from keys k, unnest(k.confkey) with ordinality as _(number, ord), pg_attribute a
  where k.contype = 'f' and a.attrelid = k.confrelid and a.attnum = number
  group by k.oid
)
select json_agg(json_build_array(
  k.conname,
  k.contype,
  k.conrelid::bigint,
  near.columns,
  k.confrelid::bigint,
  far.columns,
  k.contype = 'f' and (k.conrelid, near.sorted) in (
    select u.conrelid, n.sorted from keys u join near n on n.oid = u.oid
    where u.contype in ('p', 'u')),
  k.conparentid <> 0
) order by k.conrelid, k.conname)
from keys k
join near on near.oid = k.oid
left join far on far.oid = k.oid
where k.contype in ('p', 'f')
