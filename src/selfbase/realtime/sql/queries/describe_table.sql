-- in: $1 oid of a table; out: one JSON object {has_policies, key, columns}, or no row; locks: none.
select json_build_object(
  'has_policies', c.relrowsecurity,
  'key', coalesce((
    select json_agg(a.attname order by k.place)
    from pg_index as i
    cross join lateral unnest(i.indkey) with ordinality as k (number, place)
    join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = k.number
    where i.indrelid = c.oid and i.indisprimary
  ), '[]'),
  'columns', (
    select json_agg(json_build_object(
      'name', a.attname,
      'type', t.typname,
      'kind', t.typtype,
      'base', t.typbasetype::bigint,
      'element', case when t.typcategory = 'A' then t.typelem::bigint else 0 end,
      'casts_to_json', exists (
        select from pg_cast as x
        where x.castsource = t.oid and x.casttarget = 'json'::regtype and x.castmethod = 'f'
      ),
      'deterministic', coalesce((
        select o.collisdeterministic from pg_collation as o where o.oid = a.attcollation
      ), true)
    ))
    from pg_attribute as a
    join pg_type as t on t.oid = a.atttypid
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  )
)
from pg_class as c
where c.oid = $1::oid
