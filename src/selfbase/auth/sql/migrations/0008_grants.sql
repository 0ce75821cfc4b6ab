-- Who may do what with the tables. In: 0007. Row security without policies shuts out everyone but
-- the owner and roles that bypass it; newer tables rest on grants alone, as upstream.

do $$
declare
  protected text[] := array['users', 'refresh_tokens', 'audit_log_entries', 'instances',
    'schema_migrations', 'identities', 'sessions', 'mfa_factors', 'mfa_challenges',
    'mfa_amr_claims', 'sso_providers', 'sso_domains', 'saml_providers', 'saml_relay_states',
    'flow_state', 'one_time_tokens'];
  one text;
begin
  foreach one in array protected loop
    execute format('alter table auth.%I enable row level security', one);
  end loop;
  if to_regrole('dashboard_user') is not null then
    grant all on all tables in schema auth to dashboard_user;
    grant all on all sequences in schema auth to dashboard_user;
    grant all on all routines in schema auth to dashboard_user;
    alter default privileges in schema auth grant all on tables to dashboard_user;
    alter default privileges in schema auth grant all on sequences to dashboard_user;
    alter default privileges in schema auth grant all on routines to dashboard_user;
  end if;
  if to_regrole('postgres') is not null and current_user <> 'postgres' then
    grant all on all tables in schema auth to postgres;
    grant all on all sequences in schema auth to postgres;
    grant all on all routines in schema auth to postgres;
    alter default privileges in schema auth grant all on tables to postgres;
    alter default privileges in schema auth grant all on sequences to postgres;
    alter default privileges in schema auth grant all on routines to postgres;
    foreach one in array protected loop
      execute format('grant select on auth.%I to postgres with grant option', one);
    end loop;
    -- The list of migrations is ours alone to change.
    revoke insert, update, delete, truncate on auth.schema_migrations from postgres;
  end if;
end
$$;
