-- in: schemas text[]; out: one json array of [handler schema, handler, target schema, target,
--   media type, content type, whether it is bytea]: aggregates over a relation's rows (or anyelement), and functions,
--   that return a domain named like a media type.  Locks none.
with media as (
  select oid, lower(typname) as name, typnamespace, typname,
    typbasetype = 'bytea'::regtype as octets,
    case typname when '*/*' then 'application/octet-stream' else typname end as content_type
  from pg_type
  where typtype = 'd' and (typname ~ '^[A-Za-z0-9.-]+/[A-Za-z0-9.+-]+$' or typname = '*/*')
)
select json_agg(json_build_array(schema, function, target_schema, target, name, content_type, octets))
from (
  select pn.nspname as schema, p.proname as function, an.nspname as target_schema,
    a.typname as target, m.name, m.content_type, m.octets
  from media m
  join pg_proc p on p.prorettype = m.oid and p.prokind = 'a' and p.pronargs = 1
  join pg_namespace pn on pn.oid = p.pronamespace
  join pg_type a on a.oid = p.proargtypes[0]
  join pg_namespace an on an.oid = a.typnamespace
  where pn.nspname = any(%(schemas)s::text[])
    and (a.oid = 'anyelement'::regtype or exists (
      select 1 from pg_class c where c.reltype = a.oid and c.relkind in ('r', 'v', 'm', 'f', 'p')))
  union all
  select mn.nspname, m.typname, pn.nspname, p.proname, m.name, m.content_type, m.octets
  from media m
  join pg_namespace mn on mn.oid = m.typnamespace
  join pg_proc p on p.prorettype = m.oid and p.prokind = 'f' and not p.proretset
  join pg_namespace pn on pn.oid = p.pronamespace
  where pn.nspname = any(%(schemas)s::text[])
) found
