-- A service that runs alone logs in as the owner of its schema, as its upstream does. It keeps its
-- own list of migrations and a few tables of ours, so it may use these schemas.

create schema if not exists _selfbase_auth;

grant usage, create on schema _selfbase to supabase_auth_admin, supabase_storage_admin, supabase_realtime_admin;
grant select, insert on _selfbase.migrations to supabase_auth_admin, supabase_storage_admin, supabase_realtime_admin;
grant all on schema _selfbase_auth to supabase_auth_admin;
