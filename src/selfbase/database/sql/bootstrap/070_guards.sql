-- What keeps the owner of a project, who is no superuser, from breaking or widening the platform.

-- Privileges of the service owners let `postgres` write policies on their tables, and would let it
-- drop or change the tables as well. In schemas and on objects of the platform it may only make and
-- remove policies and triggers, comment, and pass on its grants.
create or replace function _selfbase.is_platform_session() returns boolean
language sql stable
set search_path = ''
as $$
  select
    (select r.rolsuper from pg_catalog.pg_roles as r where r.rolname = current_user)
    or session_user in (
      'supabase_admin', 'supabase_auth_admin', 'supabase_storage_admin', 'supabase_functions_admin'
    )
$$;

create or replace function _selfbase.guard_platform_objects() returns event_trigger
language plpgsql
set search_path = ''
as $$
declare
  refused text;
begin
  if _selfbase.is_platform_session() then
    return;
  end if;
  select c.object_identity into refused
  from pg_catalog.pg_event_trigger_ddl_commands() as c
  where c.command_tag not in (
      'CREATE POLICY', 'ALTER POLICY', 'CREATE TRIGGER', 'ALTER TRIGGER', 'COMMENT', 'GRANT', 'REVOKE',
      'ALTER DEFAULT PRIVILEGES', 'ALTER PUBLICATION'
    )
    and (
      c.schema_name in ('auth', 'storage', 'realtime', '_realtime', 'pgbouncer', '_selfbase')
      -- An object moved out of its schema, or renamed, still has its owner.
      or exists (
        select
        from pg_catalog.pg_class as o
        where c.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and o.oid = c.objid
          and pg_catalog.pg_get_userbyid(o.relowner) in ('supabase_auth_admin', 'supabase_storage_admin', 'supabase_realtime_admin')
      )
      or exists (
        select
        from pg_catalog.pg_proc as o
        where c.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and o.oid = c.objid
          and pg_catalog.pg_get_userbyid(o.proowner) in ('supabase_auth_admin', 'supabase_storage_admin', 'supabase_realtime_admin')
      )
      or exists (
        select
        from pg_catalog.pg_type as o
        where c.classid = 'pg_catalog.pg_type'::pg_catalog.regclass and o.oid = c.objid
          and pg_catalog.pg_get_userbyid(o.typowner) in ('supabase_auth_admin', 'supabase_storage_admin', 'supabase_realtime_admin')
      )
    )
  limit 1;
  if found then
    raise insufficient_privilege using message = pg_catalog.format('must be owner of %s', refused),
      hint = 'This object belongs to the platform. Policies and triggers may be added to its tables.';
  end if;
end
$$;

create or replace function _selfbase.guard_platform_drops() returns event_trigger
language plpgsql
set search_path = ''
as $$
declare
  refused text;
begin
  if _selfbase.is_platform_session() then
    return;
  end if;
  select d.object_identity into refused
  from pg_catalog.pg_event_trigger_dropped_objects() as d
  where d.object_type not in ('policy', 'trigger')
    and not d.is_temporary
    and (
      d.schema_name in ('auth', 'storage', 'realtime', '_realtime', 'pgbouncer', '_selfbase')
      or d.object_type = 'schema'
        and d.object_name in ('auth', 'storage', 'realtime', '_realtime', 'pgbouncer', '_selfbase')
    )
  limit 1;
  if found then
    raise insufficient_privilege using message = pg_catalog.format('must be owner of %s', refused),
      hint = 'This object belongs to the platform.';
  end if;
end
$$;

-- Default privileges would hand out even those functions of an extension that its author took from
-- PUBLIC. They go to nobody but `postgres`; and dblink_connect_u, which logs in to the server as
-- whoever the server trusts, not even there. Foreign data wrappers belong to a superuser, so their
-- use is granted.
create or replace function _selfbase.grant_extension_access() returns event_trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  made record;
begin
  for made in
    select p.oid::pg_catalog.regprocedure as routine, p.proname
    from pg_catalog.pg_event_trigger_ddl_commands() as c
    join pg_catalog.pg_depend as d
      on d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass and d.refobjid = c.objid and d.deptype = 'e'
    join pg_catalog.pg_proc as p on d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and p.oid = d.objid
    where c.object_type = 'extension'
      and p.proacl is not null
      and not exists (
        select from pg_catalog.aclexplode(p.proacl) as a where a.grantee = 0 and a.privilege_type = 'EXECUTE'
      )
  loop
    execute pg_catalog.format('revoke all on routine %s from anon, authenticated, service_role', made.routine);
    if made.proname = 'dblink_connect_u' then
      execute pg_catalog.format('revoke all on routine %s from postgres', made.routine);
    end if;
  end loop;

  for made in
    select w.fdwname
    from pg_catalog.pg_event_trigger_ddl_commands() as c
    join pg_catalog.pg_depend as d
      on d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass and d.refobjid = c.objid and d.deptype = 'e'
    join pg_catalog.pg_foreign_data_wrapper as w
      on d.classid = 'pg_catalog.pg_foreign_data_wrapper'::pg_catalog.regclass and w.oid = d.objid
    where c.object_type = 'extension' and w.fdwname <> 'file_fdw'
  loop
    execute pg_catalog.format('grant usage on foreign data wrapper %I to postgres with grant option', made.fdwname);
  end loop;
end
$$;

-- ALWAYS: a session that restores data with session_replication_role = replica is guarded too.
select _selfbase.attempt(t.statement, 'the tables of the platform are not guarded against the owner of the project')
from (values
  ('drop event trigger if exists guard_platform_objects'),
  ('create event trigger guard_platform_objects on ddl_command_end execute function _selfbase.guard_platform_objects()'),
  ('alter event trigger guard_platform_objects enable always'),
  ('drop event trigger if exists guard_platform_drops'),
  ('create event trigger guard_platform_drops on sql_drop execute function _selfbase.guard_platform_drops()'),
  ('alter event trigger guard_platform_drops enable always'),
  ('drop event trigger if exists issue_extension_access'),
  ('create event trigger issue_extension_access on ddl_command_end when tag in (''CREATE EXTENSION'', ''ALTER EXTENSION'') execute function _selfbase.grant_extension_access()'),
  ('alter event trigger issue_extension_access enable always')
) as t (statement);

grant usage on schema _selfbase to public;
