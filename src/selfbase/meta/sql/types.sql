-- in: included, excluded text[]; with_arrays, with_rows boolean; limit, offset bigint
-- out: types: base, enum, domain, range, composite; arrays and row types of relations when asked for
select
  t.oid::int8 as id,
  t.typname as name,
  n.nspname as schema,
  format_type(t.oid, null) as format,
  coalesce(
    (select jsonb_agg(e.enumlabel order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid),
    '[]'
  ) as enums,
  coalesce(
    (
      select jsonb_agg(
        jsonb_build_object('name', a.attname, 'type_id', a.atttypid::int8) order by a.attnum
      )
      from pg_attribute a
      where c.relkind = 'c' and a.attrelid = c.oid and not a.attisdropped
    ),
    '[]'
  ) as attributes,
  obj_description(t.oid, 'pg_type') as comment,
  nullif(t.typrelid::int8, 0) as type_relation_id
from pg_type t
join pg_namespace n on n.oid = t.typnamespace
left join pg_class c on c.oid = t.typrelid
where (%(included)s::text[] is null or n.nspname = any (%(included)s::text[]))
  and (%(excluded)s::text[] is null or n.nspname <> all (%(excluded)s::text[]))
  and (c.oid is null or c.relkind = 'c' or %(with_rows)s and c.relkind in ('r', 'v', 'm', 'p'))
  and (
    %(with_arrays)s
    or not exists (select from pg_type el where el.oid = t.typelem and el.typarray = t.oid)
  )
order by n.nspname, t.typname
limit %(limit)s::int8 offset %(offset)s::int8
