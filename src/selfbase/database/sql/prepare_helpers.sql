-- in: nothing; out: the helpers of the numbered bootstrap files; locks: none beyond the catalog's.

-- Runs a statement that wants superuser rights. Where we have them, any failure is a failure; on a
-- server that keeps them from us, the refusal is written down with its consequence and we go on.
create or replace function _selfbase.attempt(statement text, consequence text) returns void
language plpgsql
set search_path = ''
as $$
begin
  execute statement;
exception when insufficient_privilege or feature_not_supported or undefined_file or undefined_object then
  if (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
    raise;
  end if;
  insert into _selfbase.skipped (statement, consequence, reason)
  values (statement, consequence, sqlerrm)
  on conflict do nothing;
end
$$;

-- Roles belong to the whole cluster, so another database's bootstrap may have made them already.
create or replace function _selfbase.ensure_role(name text, attributes text) returns void
language plpgsql
set search_path = ''
as $$
begin
  if not exists (select from pg_catalog.pg_roles where rolname = name) then
    execute format('create role %I', name);
    if not (select rolsuper from pg_catalog.pg_roles where rolname = current_user)
      and current_setting('server_version_num')::integer < 160000
    then
      -- From 16 on, createrole_self_grant does this.
      execute format('grant %I to current_user', name);
    end if;
  end if;
  if name = current_user or (select oid = 10 from pg_catalog.pg_roles where rolname = name) then
    -- The server's own superuser, or ourselves: not ours to change.
    if (select rolsuper from pg_catalog.pg_roles where rolname = name) and attributes like '% superuser %' then
      return;
    end if;
    insert into _selfbase.skipped (statement, consequence, reason, is_retried)
    values (
      format('alter role %I %s', name, attributes),
      format('role %s keeps the attributes this server gave it', name),
      'it is the role that runs the bootstrap, or the first superuser of the server',
      false)
    on conflict do nothing;
  else
    perform _selfbase.attempt(
      format('alter role %I %s', name, attributes),
      format('role %s lacks some of its attributes (%s)', name, attributes));
  end if;
end
$$;

-- Tries again what was refused, in the order it was meant, and forgets what now works.
create or replace function _selfbase.retry_skipped() returns integer
language plpgsql
set search_path = ''
as $$
declare
  earlier _selfbase.skipped;
  done integer := 0;
begin
  for earlier in select * from _selfbase.skipped where is_retried order by position loop
    delete from _selfbase.skipped where statement = earlier.statement;
    perform _selfbase.attempt(earlier.statement, earlier.consequence);
    if not exists (select from _selfbase.skipped where statement = earlier.statement) then
      done := done + 1;
    end if;
  end loop;
  return done;
end
$$;

revoke all on function _selfbase.retry_skipped() from public;
revoke all on function _selfbase.attempt(text, text) from public;
revoke all on function _selfbase.ensure_role(text, text) from public;
