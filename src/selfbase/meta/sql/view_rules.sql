-- in: included, excluded text[]
-- out: the query trees of views and materialized views, for tracing their columns to tables
select
  c.oid::int8 as id,
  n.nspname as schema,
  c.relname as name,
  r.ev_action::text as tree,
  (
    select json_object_agg(a.attnum, a.attname)
    from pg_attribute a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  ) as column_names
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_rewrite r on r.ev_class = c.oid and r.rulename = '_RETURN'
where c.relkind in ('v', 'm')
  and (%(included)s::text[] is null or n.nspname = any (%(included)s::text[]))
  and (%(excluded)s::text[] is null or n.nspname <> all (%(excluded)s::text[]))
order by n.nspname, c.relname
