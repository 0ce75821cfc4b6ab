-- out: one json array of [function schema, function, table schema, table, target schema, target,
--   whether it gives one row].  Locks none.
select json_agg(json_build_array(
  f.nspname, p.proname, an.nspname, a.typname, rn.nspname, r.typname,
  not p.proretset or p.prorows = 1
))
from pg_proc p
join pg_namespace f on f.oid = p.pronamespace
join pg_type a on a.oid = p.proargtypes[0]
join pg_class ac on ac.oid = a.typrelid and ac.relkind in ('r', 'v', 'm', 'f', 'p')
join pg_namespace an on an.oid = a.typnamespace
join pg_type r on r.oid = p.prorettype
join pg_class rc on rc.oid = r.typrelid and rc.relkind in ('r', 'v', 'm', 'f', 'p')
join pg_namespace rn on rn.oid = r.typnamespace
where p.pronargs = 1
