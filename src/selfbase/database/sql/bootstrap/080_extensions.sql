-- The extensions every project has, in schema extensions. What the server does not offer is written
-- down; for our own SQL-only ones bootstrap then makes the objects without the extension.

-- They belong to `postgres` where it may create them, so that its migrations can drop them and create
-- them elsewhere.
do $$
declare
  extension text;
  outer_role constant text := current_setting('role');
begin
  foreach extension in array array['pgcrypto', 'uuid-ossp', 'pgjwt', 'pg_stat_statements'] loop
    -- Debian's servers before 18 find our files but do not list them.
    if not exists (select from pg_catalog.pg_available_extensions where name = extension)
      and coalesce(current_setting('extension_destdir', true), '') = ''
    then
      continue;
    end if;
    begin
      perform set_config('role', 'postgres', true);
      execute format('create extension if not exists %I with schema extensions', extension);
      perform set_config('role', outer_role, true);
    exception when insufficient_privilege or undefined_object then
      -- The role is what it was before the block.
      perform _selfbase.attempt(
        format('create extension if not exists %I with schema extensions', extension),
        format('extension %s is not installed', extension));
    end;
  end loop;
end
$$;

select _selfbase.attempt(g.statement, 'not granted: ' || g.statement)
from (values
  ('grant all on all tables in schema extensions to dashboard_user'),
  ('grant all on all routines in schema extensions to dashboard_user'),
  ('grant all on all tables in schema extensions to postgres with grant option')
) as g (statement);
