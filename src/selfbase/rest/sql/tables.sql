-- in: schemas text[]; out: one json array of
--   [oid, schema, name, comment, is view, insertable, updatable, deletable, pk columns, columns,
--   pages (null when the planner has not counted them)],
--   columns (of exposed schemas only) as
--   [name, type, declared type, nullable, default, comment, max length, enum labels].  Locks none.
with recursive exposed as (
  select oid from pg_namespace where nspname = any(%(schemas)s::text[])
),
domains as (
  select oid, typbasetype as base, typnotnull as not_null from pg_type where typtype = 'd'
  union all
  select d.oid, t.typbasetype, d.not_null or t.typnotnull
  from domains d join pg_type t on t.oid = d.base
  where t.typtype = 'd'
),
bases as (
  select d.oid, d.base, t.typnamespace as namespace, d.not_null
  from domains d join pg_type t on t.oid = d.base
  where t.typtype <> 'd'
),
columns as (
  select
    a.attrelid as relid,
    json_agg(json_build_array(
      a.attname,
      case
        when b.base is not null then
          case when b.namespace = 'pg_catalog'::regnamespace
            then format_type(b.base, null) else format_type(a.atttypid, a.atttypmod) end
        when t.typnamespace = 'pg_catalog'::regnamespace then format_type(a.atttypid, null)
        else format_type(a.atttypid, a.atttypmod)
      end,
      format_type(a.atttypid, a.atttypmod),
      not (a.attnotnull or (t.typtype = 'd' and t.typnotnull)),
      case
        when t.typtype = 'd' and d.adbin is null then pg_get_expr(t.typdefaultbin, 0)
        when a.attidentity = 'd' then (
          select format('nextval(%%L)', s.objid::regclass) from pg_depend s
          where s.refobjid = a.attrelid and s.refobjsubid = a.attnum and s.deptype = 'i' limit 1)
        when a.attgenerated <> '' then null
        else pg_get_expr(d.adbin, d.adrelid)
      end,
      n.description,
      case
        when a.atttypid in ('bpchar'::regtype, 'varchar'::regtype) and a.atttypmod > 0
          then a.atttypmod - 4
        when a.atttypid in ('bit'::regtype, 'varbit'::regtype) and a.atttypmod > 0
          then a.atttypmod
        when t.typtype = 'd' and t.typtypmod > 0
          and b.base in ('bpchar'::regtype, 'varchar'::regtype) then t.typtypmod - 4
      end,
      case when coalesce(bt.typtype, t.typtype) = 'e' then (
        select json_agg(e.enumlabel order by e.enumsortorder) from pg_enum e
        where e.enumtypid = coalesce(b.base, t.oid)) end
    ) order by a.attnum) as columns
  from pg_attribute a
  join pg_class c on c.oid = a.attrelid
  join pg_type t on t.oid = a.atttypid
  left join bases b on b.oid = t.oid
  left join pg_type bt on bt.oid = b.base
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  left join pg_description n on n.objoid = a.attrelid and n.objsubid = a.attnum
    and n.classoid = 'pg_class'::regclass
  where a.attnum > 0 and not a.attisdropped
    and c.relkind in ('r', 'v', 'm', 'f', 'p')
    and c.relnamespace in (select oid from exposed)
  group by a.attrelid
),
keys as (
  select k.conrelid as relid, json_agg(a.attname order by a.attname) as columns
  from pg_constraint k
  join pg_attribute a on a.attrelid = k.conrelid and a.attnum = any(k.conkey)
  where k.contype = 'p'
  group by k.conrelid
)
select json_agg(json_build_array(
  c.oid::bigint,
  n.nspname,
  c.relname,
  d.description,
  c.relkind in ('v', 'm'),
  c.relkind in ('r', 'p') or u.mask & 8 = 8,
  c.relkind in ('r', 'p') or u.mask & 4 = 4,
  c.relkind in ('r', 'p') or u.mask & 16 = 16,
  k.columns,
  columns.columns,
  case when c.relkind = 'r' and c.reltuples >= 0 then c.relpages end
))
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
left join lateral (
  select case when c.relkind in ('v', 'f') and c.relnamespace in (select oid from exposed)
    then pg_relation_is_updatable(c.oid, true) else 0 end as mask
) u on true
left join pg_description d on d.objoid = c.oid and d.objsubid = 0
  and d.classoid = 'pg_class'::regclass
left join keys k on k.relid = c.oid
left join columns on columns.relid = c.oid
where c.relkind in ('r', 'v', 'm', 'f', 'p')
  and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
  and not pg_is_other_temp_schema(c.relnamespace)
  and not c.relispartition
