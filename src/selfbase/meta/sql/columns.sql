-- in: included, excluded text[]; tables bigint[]; ids text[] of `oid.attnum`; limit, offset bigint
-- out: columns of tables, views, materialized and foreign tables that the role has any right on
-- The page is cut before anything is looked up for each of its columns.
with page as materialized (
  select
    c.oid, c.relname, c.relkind, n.nspname,
    a.attnum, a.attname, a.atttypid, a.attidentity, a.attgenerated, a.attnotnull
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  where c.relkind in ('r', 'p', 'v', 'm', 'f')
    and (%(included)s::text[] is null or n.nspname = any (%(included)s::text[]))
    and (%(excluded)s::text[] is null or n.nspname <> all (%(excluded)s::text[]))
    and (%(tables)s::int8[] is null or c.oid = any (%(tables)s::int8[]::oid[]))
    and (%(ids)s::text[] is null or c.oid || '.' || a.attnum = any (%(ids)s::text[]))
    and not pg_is_other_temp_schema(n.oid)
    and (
      pg_has_role(c.relowner, 'USAGE')
      or has_column_privilege(c.oid, a.attnum, 'SELECT, INSERT, UPDATE, REFERENCES')
    )
  order by n.nspname, c.relname, a.attnum
  limit %(limit)s::int8 offset %(offset)s::int8
)
select
  p.oid::int8 as table_id,
  p.nspname as schema,
  p.relname as "table",
  p.oid || '.' || p.attnum as id,
  p.attnum as ordinal_position,
  p.attname as name,
  pg_get_expr(d.adbin, d.adrelid) as default_value,
  case
    when shape.is_array then 'ARRAY'
    when shape.is_builtin then format_type(coalesce(b.oid, p.atttypid), null)
    else 'USER-DEFINED'
  end as data_type,
  coalesce(b.typname, t.typname) as format,
  p.attidentity <> '' as is_identity,
  case p.attidentity when 'a' then 'ALWAYS' when 'd' then 'BY DEFAULT' end as identity_generation,
  p.attgenerated <> '' as is_generated,
  not (p.attnotnull or t.typtype = 'd' and t.typnotnull) as is_nullable,
  p.relkind in ('r', 'p')
    or p.relkind in ('v', 'f') and pg_column_is_updatable(p.oid, p.attnum, false) as is_updatable,
  exists (
    select from pg_constraint k
    where k.conrelid = p.oid and k.contype = 'u' and k.conkey = array[p.attnum]
  ) as is_unique,
  (
    select pg_get_expr(k.conbin, k.conrelid, true)
    from pg_constraint k
    where k.conrelid = p.oid and k.contype = 'c' and k.conkey = array[p.attnum]
    order by k.oid
    limit 1
  ) as "check",
  array(
    select e.enumlabel
    from pg_enum e
    where e.enumtypid in (coalesce(b.oid, t.oid), coalesce(b.typelem, t.typelem))
    order by e.enumsortorder
  ) as enums,
  col_description(p.oid, p.attnum) as comment
from page p
join pg_type t on t.oid = p.atttypid
left join pg_type b on t.typtype = 'd' and b.oid = t.typbasetype
left join pg_attrdef d on d.adrelid = p.oid and d.adnum = p.attnum
cross join lateral (
  select
    coalesce(b.typelem, t.typelem) <> 0 and coalesce(b.typlen, t.typlen) = -1 as is_array,
    coalesce(b.typnamespace, t.typnamespace) = 'pg_catalog'::regnamespace as is_builtin
) shape
order by p.nspname, p.relname, p.attnum
