-- A change of the schema, through whatever connection, tells the REST service to look again:
-- NOTIFY pgrst, 'reload schema'. Objects of the services' own schemas, and temporary ones, do not.

create or replace function extensions.pgrst_ddl_watch() returns event_trigger
language plpgsql
set search_path = ''
as $$
begin
  if exists (
    select
    from pg_catalog.pg_event_trigger_ddl_commands() as c
    where c.command_tag in (
        'CREATE SCHEMA', 'ALTER SCHEMA', 'CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO',
        'ALTER TABLE', 'CREATE FOREIGN TABLE', 'ALTER FOREIGN TABLE', 'CREATE VIEW', 'ALTER VIEW',
        'CREATE MATERIALIZED VIEW', 'ALTER MATERIALIZED VIEW', 'CREATE FUNCTION', 'ALTER FUNCTION',
        'CREATE PROCEDURE', 'ALTER PROCEDURE', 'CREATE AGGREGATE', 'ALTER AGGREGATE',
        'CREATE TRIGGER', 'CREATE TYPE', 'ALTER TYPE', 'CREATE DOMAIN', 'ALTER DOMAIN',
        'CREATE RULE', 'COMMENT', 'GRANT', 'REVOKE'
      )
      and coalesce(c.schema_name, '') not in ('pg_temp', 'auth', 'realtime', '_realtime', 'storage', '_selfbase')
      and coalesce(c.object_identity, '') not like '% pg\_temp.%'
  ) then
    notify pgrst, 'reload schema';
  end if;
end
$$;

create or replace function extensions.pgrst_drop_watch() returns event_trigger
language plpgsql
set search_path = ''
as $$
begin
  if exists (
    select
    from pg_catalog.pg_event_trigger_dropped_objects() as d
    where d.object_type in (
        'schema', 'table', 'foreign table', 'view', 'materialized view', 'function', 'procedure',
        'aggregate', 'trigger', 'type', 'domain', 'rule', 'table column', 'table constraint'
      )
      and not d.is_temporary
      and coalesce(d.schema_name, '') not in ('pg_temp', 'auth', 'realtime', '_realtime', 'storage', '_selfbase')
      and d.object_identity not like '% pg\_temp.%'
  ) then
    notify pgrst, 'reload schema';
  end if;
end
$$;

select _selfbase.attempt(t.statement, 'REST notices schema changes only when told by NOTIFY pgrst')
from (values
  ('drop event trigger if exists pgrst_ddl_watch'),
  ('create event trigger pgrst_ddl_watch on ddl_command_end execute function extensions.pgrst_ddl_watch()'),
  ('drop event trigger if exists pgrst_drop_watch'),
  ('create event trigger pgrst_drop_watch on sql_drop execute function extensions.pgrst_drop_watch()')
) as t (statement);
