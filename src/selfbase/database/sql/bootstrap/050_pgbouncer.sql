-- The pooler asks here for the verifier of a user who connects. Expired passwords do not count.

create or replace function pgbouncer.get_auth(p_usename text)
returns table (username text, password text)
language sql stable security definer
set search_path = ''
as $$
  select
    r.rolname::text,
    case when r.rolvaliduntil < pg_catalog.now() then null else r.rolpassword::text end
  from pg_catalog.pg_authid as r
  where r.rolname = p_usename and r.rolcanlogin
$$;

revoke all on function pgbouncer.get_auth(text) from public;
grant execute on function pgbouncer.get_auth(text) to pgbouncer;
