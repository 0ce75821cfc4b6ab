-- The extensions every project has, in schema extensions. What the server does not offer is written
-- down; for our own SQL-only ones bootstrap then makes the objects without the extension.

select _selfbase.attempt(
  format('create extension if not exists %I with schema extensions', e.name),
  format('extension %s is not installed', e.name))
from (values (1, 'pgcrypto'), (2, 'uuid-ossp'), (3, 'pgjwt'), (4, 'pg_stat_statements')) as e (position, name)
-- Debian's servers before 18 find our files but do not list them.
where exists (select from pg_catalog.pg_available_extensions as a where a.name = e.name)
  or current_setting('extension_destdir', true) <> ''
order by e.position;

grant all on all tables in schema extensions to dashboard_user;
grant all on all routines in schema extensions to dashboard_user;
grant all on all tables in schema extensions to postgres with grant option;
