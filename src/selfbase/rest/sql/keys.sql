-- out: one json array of primary and foreign keys:
--   [name, 'p' or 'f', table oid, columns as [number, name], foreign table oid or 0,
--    foreign columns as [number, name], whether a foreign key's columns are a key of their own,
--    whether it was inherited from a partitioned parent].  Locks none.
with uniques as (
  select conrelid, array_agg(number order by number) as columns
  from pg_constraint, unnest(conkey) as number
  where contype in ('p', 'u')
  group by oid, conrelid
)
select json_agg(json_build_array(
  k.conname,
  k.contype,
  k.conrelid::bigint,
  (select json_agg(json_build_array(a.attnum, a.attname) order by ord)
   from unnest(k.conkey) with ordinality as _(number, ord)
   join pg_attribute a on a.attrelid = k.conrelid and a.attnum = number),
  k.confrelid::bigint,
  (select json_agg(json_build_array(a.attnum, a.attname) order by ord)
   from unnest(k.confkey) with ordinality as _(number, ord)
   join pg_attribute a on a.attrelid = k.confrelid and a.attnum = number),
  k.contype = 'f' and exists (
    select 1 from uniques u
    where u.conrelid = k.conrelid
      and u.columns = (select array_agg(number order by number) from unnest(k.conkey) as number)),
  k.conparentid <> 0
) order by k.conrelid, k.conname)
from pg_constraint k
where k.contype in ('p', 'f') and k.connamespace <> 'pg_catalog'::regnamespace
