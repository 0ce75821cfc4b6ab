-- The schemas of a project and who may do what in them. Their tables are made by the services.

do $$
begin
  if (select rolname <> 'postgres' from pg_catalog.pg_roles where oid = 10) and current_user <> 'postgres' then
    perform _selfbase.attempt(
      format('alter database %I owner to postgres', current_database()),
      'postgres does not own the database');
  end if;
  execute format('grant create, connect, temporary on database %I to supabase_auth_admin, supabase_storage_admin, supabase_realtime_admin', current_database());
  execute format('grant all on database %I to postgres, dashboard_user', current_database());
end
$$;

create schema if not exists extensions;
create schema if not exists auth;
create schema if not exists storage;
create schema if not exists realtime;
create schema if not exists _realtime;
create schema if not exists graphql_public;
create schema if not exists supabase_functions;
create schema if not exists supabase_migrations;
create schema if not exists vault;
create schema if not exists pgbouncer;

alter schema extensions owner to postgres;
alter schema supabase_migrations owner to postgres;
alter schema pgbouncer owner to pgbouncer;

revoke all on schema public from pgbouncer;
grant usage on schema public, extensions, auth, storage, realtime, graphql_public
  to postgres, anon, authenticated, service_role;
grant usage on schema storage, realtime, graphql_public to postgres with grant option;
grant usage on schema supabase_functions to postgres, anon, authenticated, service_role;
grant usage on schema vault to postgres, service_role;
grant all on schema public to postgres;
grant all on schema auth to supabase_auth_admin, dashboard_user;
grant all on schema storage to supabase_storage_admin, dashboard_user;
grant all on schema realtime to supabase_realtime_admin;
grant all on schema supabase_functions to supabase_functions_admin;
grant all on schema extensions to dashboard_user;
grant usage on schema realtime to dashboard_user;

-- GraphQL's entry point exists from the start; it answers this until the extension is there.
create or replace function graphql_public.graphql(
  "operationName" text default null,
  query text default null,
  variables jsonb default null,
  extensions jsonb default null
) returns jsonb
language sql stable
set search_path = ''
return '{"errors": [{"message": "pg_graphql extension is not enabled."}]}'::jsonb;
