-- in: $1 schema; runs as the caller; out: the relations (by name) and functions (by oid) of the
--   schema that the caller has any right on, and the schema's comment.  Locks none.
select
  (select json_agg(c.relname) from pg_catalog.pg_class c
   where c.relnamespace = n.oid and c.relkind in ('r', 'v', 'm', 'f', 'p')
     and not c.relispartition
     and (pg_catalog.pg_has_role(c.relowner, 'USAGE')
       or pg_catalog.has_table_privilege(c.oid,
         'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
       or pg_catalog.has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE, REFERENCES'))),
  (select json_agg(p.oid::bigint) from pg_catalog.pg_proc p
   where p.pronamespace = n.oid and pg_catalog.has_function_privilege(p.oid, 'EXECUTE')),
  pg_catalog.obj_description(n.oid, 'pg_namespace')
from pg_catalog.pg_namespace n
where n.nspname = $1
