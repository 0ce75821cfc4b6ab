-- in: ids bigint[]; with_default boolean; limit, offset bigint
-- out: roles; PostgreSQL's own begin with pg_ and are left out unless asked for
select
  r.oid::int8 as id,
  r.rolname as name,
  r.rolsuper as is_superuser,
  r.rolcreatedb as can_create_db,
  r.rolcreaterole as can_create_role,
  r.rolinherit as inherit_role,
  r.rolcanlogin as can_login,
  r.rolreplication as is_replication_role,
  r.rolbypassrls as can_bypass_rls,
  (select count(*) from pg_stat_activity s where s.usename = r.rolname) as active_connections,
  case
    when r.rolconnlimit = -1 then current_setting('max_connections')::int8 else r.rolconnlimit
  end as connection_limit,
  r.rolpassword as password,
  r.rolvaliduntil::text as valid_until,
  (
    select json_object_agg(
      split_part(entry, '=', 1), substring(entry from position('=' in entry) + 1)
    )
    from unnest(r.rolconfig) as entry
  ) as config
from pg_roles r
where (%(ids)s::int8[] is null or r.oid = any (%(ids)s::int8[]::oid[]))
  and (%(with_default)s or not starts_with(r.rolname, 'pg_'))
order by r.rolname
limit %(limit)s::int8 offset %(offset)s::int8
