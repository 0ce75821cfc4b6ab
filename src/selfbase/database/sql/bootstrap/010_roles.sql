-- The roles of a project: who they are, whom they may become, how long they may run.
-- Cluster-wide, so every statement holds when the roles exist already.

-- Before 16, CREATEROLE lets its holder grant itself any role but superuser, pg_execute_server_program
-- included, and so take over the server. There it is kept from everybody who logs in from outside.
do $$
declare
  createrole constant text := case
    when current_setting('server_version_num')::integer >= 160000 then 'createrole' else 'nocreaterole'
  end;
begin
  perform _selfbase.ensure_role('supabase_admin', 'login superuser createdb createrole replication bypassrls');
  perform _selfbase.ensure_role('postgres', 'login nosuperuser createdb replication bypassrls ' || createrole);
  perform _selfbase.ensure_role('anon', 'nologin inherit');
  perform _selfbase.ensure_role('authenticated', 'nologin inherit');
  perform _selfbase.ensure_role('service_role', 'nologin inherit bypassrls');
  perform _selfbase.ensure_role('authenticator', 'login noinherit');
  perform _selfbase.ensure_role('supabase_auth_admin', 'login noinherit nocreaterole');
  perform _selfbase.ensure_role('supabase_storage_admin', 'login noinherit ' || createrole);
  perform _selfbase.ensure_role('supabase_functions_admin', 'login noinherit ' || createrole);
  perform _selfbase.ensure_role('supabase_realtime_admin', 'nologin noinherit');
  perform _selfbase.ensure_role('supabase_replication_admin', 'login replication');
  perform _selfbase.ensure_role('supabase_etl_admin', 'login replication bypassrls');
  perform _selfbase.ensure_role('supabase_read_only_user', 'login bypassrls');
  perform _selfbase.ensure_role('dashboard_user', 'nologin createdb replication ' || createrole);
  perform _selfbase.ensure_role('pgbouncer', 'login');
end
$$;

grant anon, authenticated, service_role to authenticator;
grant authenticator to supabase_storage_admin;

-- The owner of a project acts as the API roles, and hands them and their settings on:
-- `alter role anon set statement_timeout`, `alter role authenticator set pgrst.…` are everyday work.
-- Of the service owners it has the privileges (so that it can write policies on their tables) but
-- may not become them; what else owning would allow is refused by guard_platform_objects.
do $$
begin
  if (select rolname = 'postgres' from pg_catalog.pg_roles where oid = 10) or current_user = 'postgres' then
    return;
  end if;
  if current_setting('server_version_num')::integer >= 160000 then
    -- As text: older servers cannot even parse these options.
    execute 'grant anon, authenticated, service_role to postgres with admin true, inherit true, set true';
    execute 'grant authenticator to postgres with admin true, inherit false, set false';
    execute 'grant supabase_auth_admin, supabase_storage_admin, supabase_realtime_admin to postgres with admin false, inherit true, set false';
  else
    grant anon, authenticated, service_role to postgres;
    grant supabase_auth_admin, supabase_storage_admin, supabase_realtime_admin to postgres;
  end if;
end
$$;

select _selfbase.attempt(format('grant %s', g.what), 'not granted: ' || g.what)
from (values
  ('pg_monitor to postgres'),
  ('pg_read_all_data to postgres'),
  ('pg_signal_backend to postgres'),
  ('pg_monitor to supabase_etl_admin, supabase_read_only_user'),
  ('pg_read_all_data to supabase_etl_admin, supabase_read_only_user'),
  ('execute on function pg_catalog.pg_reload_conf() to postgres'),
  -- Restoring a dump switches triggers off; the rest are the knobs of slow-query hunting.
  ('set on parameter session_replication_role to postgres'),
  ('set on parameter log_min_messages to postgres'),
  ('set on parameter log_lock_waits to postgres'),
  ('set on parameter log_min_duration_statement to postgres'),
  ('set on parameter track_io_timing to postgres'),
  -- `alter role authenticator set pgrst.…` configures the REST service; a setting that no library has
  -- declared may be stored only by a superuser, or by name.
  ('set on parameter pgrst.db_aggregates_enabled, pgrst.db_anon_role, pgrst.db_channel_enabled,
    pgrst.db_extra_search_path, pgrst.db_hoisted_tx_settings, pgrst.db_max_rows,
    pgrst.db_plan_enabled, pgrst.db_pre_config, pgrst.db_pre_request, pgrst.db_root_spec,
    pgrst.db_schemas, pgrst.db_timezone_enabled, pgrst.db_tx_end, pgrst.jwt_aud,
    pgrst.jwt_cache_max_entries, pgrst.jwt_cache_max_lifetime, pgrst.jwt_role_claim_key,
    pgrst.jwt_secret, pgrst.jwt_secret_is_base64, pgrst.openapi_mode,
    pgrst.openapi_security_active, pgrst.openapi_server_proxy_uri,
    pgrst.server_cors_allowed_origins, pgrst.server_timing_enabled, pgrst.server_trace_header
    to postgres')
) as g (what)
where g.what not like '% to postgres'
  or (select rolname <> 'postgres' from pg_catalog.pg_roles where oid = 10);

-- Only members of a role, or superusers, may be set up by name below.
do $$
declare
  setting text[];
begin
  foreach setting slice 1 in array array[
    ['anon', 'statement_timeout', '''3s'''],
    ['authenticated', 'statement_timeout', '''8s'''],
    ['authenticator', 'statement_timeout', '''8s'''],
    ['authenticator', 'lock_timeout', '''8s'''],
    ['supabase_auth_admin', 'search_path', 'auth'],
    ['supabase_auth_admin', 'idle_in_transaction_session_timeout', '60000'],
    ['supabase_storage_admin', 'search_path', 'storage'],
    ['supabase_functions_admin', 'search_path', 'supabase_functions'],
    ['supabase_read_only_user', 'default_transaction_read_only', 'on'],
    ['supabase_admin', 'search_path', '"$user", public, auth, extensions'],
    ['postgres', 'search_path', '"$user", public, extensions']
  ] loop
    perform _selfbase.attempt(
      format('alter role %I set %I to %s', setting[1], setting[2], setting[3]),
      format('role %s has no %s of its own', setting[1], setting[2]));
  end loop;
end
$$;
-- authenticator would also preload the library safeupdate (UPDATE and DELETE without WHERE refused):
-- it is a C library that we do not have. REST refuses such requests itself.
