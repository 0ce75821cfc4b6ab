-- in: included, excluded text[]; ids bigint[]; limit, offset bigint
-- out: indexes; index_attributes are the columns of the table, expressions are not among them
with page as materialized (
  select i.indexrelid, n.nspname, c.relname, c.relam
  from pg_index i
  join pg_class c on c.oid = i.indexrelid
  join pg_namespace n on n.oid = c.relnamespace
  where (%(included)s::text[] is null or n.nspname = any (%(included)s::text[]))
    and (%(excluded)s::text[] is null or n.nspname <> all (%(excluded)s::text[]))
    and (%(ids)s::int8[] is null or i.indexrelid = any (%(ids)s::int8[]::oid[]))
  order by n.nspname, c.relname
  limit %(limit)s::int8 offset %(offset)s::int8
)
select
  i.indexrelid::int8 as id,
  i.indrelid::int8 as table_id,
  p.nspname as schema,
  i.indnatts as number_of_attributes,
  i.indnkeyatts as number_of_key_attributes,
  i.indisunique as is_unique,
  i.indisprimary as is_primary,
  i.indisexclusion as is_exclusion,
  i.indimmediate as is_immediate,
  i.indisclustered as is_clustered,
  i.indisvalid as is_valid,
  i.indcheckxmin as check_xmin,
  i.indisready as is_ready,
  i.indislive as is_live,
  i.indisreplident as is_replica_identity,
  i.indkey::int2[] as key_attributes,
  i.indcollation::int8[] as collation,
  i.indclass::int8[] as class,
  i.indoption::int2[] as options,
  pg_get_expr(i.indpred, i.indrelid) as index_predicate,
  obj_description(i.indexrelid, 'pg_class') as comment,
  pg_get_indexdef(i.indexrelid) as index_definition,
  m.amname as access_method,
  coalesce(
    (
      select jsonb_agg(
        jsonb_build_object(
          'attribute_number', a.attnum,
          'attribute_name', a.attname,
          'data_type', format_type(a.atttypid, a.atttypmod)
        )
        order by a.attnum
      )
      from pg_attribute a
      where a.attrelid = i.indrelid and a.attnum > 0 and a.attnum = any (i.indkey)
    ),
    '[]'
  ) as index_attributes
from page p
join pg_index i on i.indexrelid = p.indexrelid
join pg_am m on m.oid = p.relam
order by p.nspname, p.relname
