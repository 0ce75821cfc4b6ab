-- What the API roles may do with objects made later. Row level security, not these grants, is what
-- protects rows: that is the platform's contract.

do $$
declare
  maker text;
  kind text;
  api constant text := 'postgres, anon, authenticated, service_role';
  makers text[];
begin
  select array_agg(rolname) into makers
  from pg_catalog.pg_roles
  where rolname in ('postgres', 'supabase_admin') or rolname = current_user;

  foreach maker in array makers loop
    foreach kind in array array['tables', 'sequences', 'routines'] loop
      perform _selfbase.attempt(s.statement, 'no default privileges: ' || s.statement)
      from (
        select format('alter default privileges for role %I in schema public grant all on %s to %s', maker, kind, api)
        union all
        select format('alter default privileges for role %I in schema graphql_public grant all on %s to %s', maker, kind, api)
        union all
        select format('alter default privileges for role %I in schema extensions grant all on %s to postgres with grant option', maker, kind)
      ) as s (statement);
    end loop;
  end loop;

  foreach kind in array array['tables', 'sequences', 'routines'] loop
    perform _selfbase.attempt(s.statement, 'no default privileges: ' || s.statement)
    from (
      select format('alter default privileges for role supabase_auth_admin in schema auth grant all on %s to postgres, dashboard_user', kind)
      union all
      select format('alter default privileges for role supabase_storage_admin in schema storage grant all on %s to postgres, anon, authenticated, service_role', kind)
      union all
      select format('alter default privileges for role supabase_admin in schema realtime grant all on %s to postgres, dashboard_user', kind)
      union all
      select format('alter default privileges for role supabase_functions_admin in schema supabase_functions grant all on %s to postgres, anon, authenticated, service_role', kind)
    ) as s (statement);
  end loop;
end
$$;
