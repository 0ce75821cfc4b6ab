-- in: included, excluded text[]; ids bigint[]; limit, offset bigint
-- out: row level security policies
with page as materialized (
  select p.oid, n.nspname, c.relname
  from pg_policy p
  join pg_class c on c.oid = p.polrelid
  join pg_namespace n on n.oid = c.relnamespace
  where (%(included)s::text[] is null or n.nspname = any (%(included)s::text[]))
    and (%(excluded)s::text[] is null or n.nspname <> all (%(excluded)s::text[]))
    and (%(ids)s::int8[] is null or p.oid = any (%(ids)s::int8[]::oid[]))
  order by n.nspname, c.relname, p.polname
  limit %(limit)s::int8 offset %(offset)s::int8
)
select
  p.oid::int8 as id,
  o.nspname as schema,
  o.relname as "table",
  p.polrelid::int8 as table_id,
  p.polname as name,
  case when p.polpermissive then 'PERMISSIVE' else 'RESTRICTIVE' end as action,
  case
    when p.polroles = '{0}' then array['public'::name]
    else array(select r.rolname from pg_roles r where r.oid = any (p.polroles) order by r.rolname)
  end as roles,
  case p.polcmd
    when 'r' then 'SELECT' when 'a' then 'INSERT' when 'w' then 'UPDATE'
    when 'd' then 'DELETE' else 'ALL'
  end as command,
  pg_get_expr(p.polqual, p.polrelid) as definition,
  pg_get_expr(p.polwithcheck, p.polrelid) as "check"
from page o
join pg_policy p on p.oid = o.oid
order by o.nspname, o.relname, p.polname
