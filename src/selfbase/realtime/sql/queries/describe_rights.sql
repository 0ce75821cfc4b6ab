-- in: $1 oid of a table, $2 a role; out: one JSON object {selectable, is_limited, plain_functions,
-- policies}, or no row when either is unknown; locks: none.
-- `plain_functions`: auth.uid() and its kin read the claims only, as they were made to.
select json_build_object(
  'selectable', coalesce((
    select json_agg(a.attname)
    from pg_attribute as a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      and has_schema_privilege(r.oid, c.relnamespace, 'USAGE')
      and has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT')
  ), '[]'),
  'is_limited', c.relrowsecurity
    and not r.rolsuper and not r.rolbypassrls
    and (c.relforcerowsecurity or not pg_has_role(r.oid, c.relowner, 'USAGE')),
  'plain_functions', not exists (
    select
    from pg_proc as p
    where p.pronamespace = to_regnamespace('auth') and p.proname in ('uid', 'role', 'email', 'jwt')
      and (p.provolatile = 'v' or p.prosrc ~* '\mfrom\M')
  ),
  'policies', coalesce((
    select json_agg(json_build_object(
      'permissive', p.polpermissive, 'qual', pg_get_expr(p.polqual, p.polrelid)
    ))
    from pg_policy as p
    where p.polrelid = c.oid and p.polcmd in ('r', '*') and p.polqual is not null
      and (0 = any (p.polroles) or exists (
        select from unnest(p.polroles) as o (oid) where o.oid <> 0 and pg_has_role(r.oid, o.oid, 'USAGE')
      ))
  ), '[]')
)
from pg_class as c, pg_roles as r
where c.oid = $1::oid and r.rolname = $2
