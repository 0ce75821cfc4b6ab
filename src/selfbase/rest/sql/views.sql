-- in: schemas text[] (exposed and extra search path); out: one row a view:
--   oid, its column names by number as json, and the rule's node tree.  Locks none.
select
  c.oid::bigint as oid,
  (select json_object_agg(a.attnum, a.attname) from pg_attribute a
   where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
  r.ev_action::text as action
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_rewrite r on r.ev_class = c.oid and r.ev_type = '1'
where c.relkind in ('v', 'm') and n.nspname = any(%(schemas)s::text[])
