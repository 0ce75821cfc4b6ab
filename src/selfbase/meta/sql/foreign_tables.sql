-- in: included, excluded text[]; ids bigint[]; limit, offset bigint
-- out: foreign tables
select
  c.oid::int8 as id,
  n.nspname as schema,
  c.relname as name,
  obj_description(c.oid, 'pg_class') as comment
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'f'
  and (%(included)s::text[] is null or n.nspname = any (%(included)s::text[]))
  and (%(excluded)s::text[] is null or n.nspname <> all (%(excluded)s::text[]))
  and (%(ids)s::int8[] is null or c.oid = any (%(ids)s::int8[]::oid[]))
order by n.nspname, c.relname
limit %(limit)s::int8 offset %(offset)s::int8
