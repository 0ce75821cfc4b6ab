-- in: included, excluded text[]; ids bigint[]; with_system boolean; limit, offset bigint
-- out: schemas the role owns or may use or create in; never those of temporary tables
select
  n.oid::int8 as id,
  n.nspname as name,
  o.rolname as owner
from pg_namespace n
join pg_roles o on o.oid = n.nspowner
where (%(included)s::text[] is null or n.nspname = any (%(included)s::text[]))
  and (%(excluded)s::text[] is null or n.nspname <> all (%(excluded)s::text[]))
  and (%(ids)s::int8[] is null or n.oid = any (%(ids)s::int8[]::oid[]))
  and (%(with_system)s or not starts_with(n.nspname, 'pg_'))
  and not starts_with(n.nspname, 'pg_temp_')
  and not starts_with(n.nspname, 'pg_toast_temp_')
  and (pg_has_role(n.nspowner, 'USAGE') or has_schema_privilege(n.oid, 'CREATE, USAGE'))
order by n.nspname
limit %(limit)s::int8 offset %(offset)s::int8
