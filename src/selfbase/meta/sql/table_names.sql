-- in: included, excluded text[]; limit, offset bigint
-- out: ordinary and partitioned tables the role has any right on, by name only: for generated types
select
  c.oid::int8 as id,
  n.nspname as schema,
  c.relname as name
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p')
  and (%(included)s::text[] is null or n.nspname = any (%(included)s::text[]))
  and (%(excluded)s::text[] is null or n.nspname <> all (%(excluded)s::text[]))
  and not pg_is_other_temp_schema(n.oid)
  and (
    pg_has_role(c.relowner, 'USAGE')
    or has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
    or has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
  )
order by n.nspname, c.relname
limit %(limit)s::int8 offset %(offset)s::int8
