-- in: included, excluded text[] (of the referencing schema)
-- out: foreign keys with their columns in key order; is_one_to_one when the referencing columns are
--      a key themselves.  Keys that partitions inherit are left out.
select
  k.oid::int8 as id,
  k.conname as foreign_key_name,
  n.nspname as schema,
  c.relname as relation,
  k.conrelid::int8 as relation_id,
  ends.columns,
  rn.nspname as referenced_schema,
  r.relname as referenced_relation,
  k.confrelid::int8 as referenced_relation_id,
  ends.referenced_columns,
  k.conkey::int4[] as column_numbers,
  k.confkey::int4[] as referenced_column_numbers,
  exists (
    select from pg_constraint u
    where u.conrelid = k.conrelid
      and u.contype in ('p', 'u')
      -- Parity: upstream compares the key's columns in table order with ours in key order.
      and ends.columns = array(
        select a.attname from pg_attribute a
        where a.attrelid = u.conrelid and a.attnum = any (u.conkey)
        order by a.attnum
      )
  ) as is_one_to_one
from pg_constraint k
join pg_class c on c.oid = k.conrelid
join pg_namespace n on n.oid = c.relnamespace
join pg_class r on r.oid = k.confrelid
join pg_namespace rn on rn.oid = r.relnamespace
cross join lateral (
  select
    array_agg(s.attname order by pair.place) as columns,
    array_agg(t.attname order by pair.place) as referenced_columns
  from unnest(k.conkey, k.confkey) with ordinality as pair (source, target, place)
  join pg_attribute s on s.attrelid = k.conrelid and s.attnum = pair.source
  join pg_attribute t on t.attrelid = k.confrelid and t.attnum = pair.target
) ends
where k.contype = 'f'
  and k.conparentid = 0
  and (%(included)s::text[] is null or n.nspname = any (%(included)s::text[]))
  and (%(excluded)s::text[] is null or n.nspname <> all (%(excluded)s::text[]))
order by n.nspname, c.relname, k.conname
