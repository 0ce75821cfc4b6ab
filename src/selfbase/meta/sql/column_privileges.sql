-- in: included, excluded text[]; ids text[] of `oid.attnum`; limit, offset bigint
-- out: rights on columns: those on the whole relation, and those on the column alone.  A right is
--      shown when the role is a member of its grantor or grantee, or when it is PUBLIC's.
with relations as (
  select c.oid, n.nspname, c.relname, c.relacl, c.relowner
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'v', 'm', 'f', 'p')
    and (%(included)s::text[] is null or n.nspname = any (%(included)s::text[]))
    and (%(excluded)s::text[] is null or n.nspname <> all (%(excluded)s::text[]))
    and (
      %(ids)s::text[] is null
      or c.oid in (select split_part(id, '.', 1)::oid from unnest(%(ids)s::text[]) id)
    )
),
columns as (
  select r.oid, r.nspname, r.relname, r.relacl, r.relowner, a.attnum, a.attname, a.attacl
  from relations r
  join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
  where %(ids)s::text[] is null or r.oid || '.' || a.attnum = any (%(ids)s::text[])
),
rights as (
  select
    c.oid, c.nspname, c.relname, c.attnum, c.attname,
    g.grantor, g.grantee, g.privilege_type, g.is_grantable
  from columns c
  cross join lateral (
    select * from aclexplode(coalesce(c.relacl, acldefault('r', c.relowner)))
    union
    select * from aclexplode(c.attacl)
  ) g
  where g.privilege_type in ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
    and (
      g.grantee = 0
      or pg_has_role(g.grantor, 'USAGE')
      or pg_has_role(g.grantee, 'USAGE')
    )
)
select
  oid || '.' || attnum as column_id,
  nspname as relation_schema,
  relname as relation_name,
  attname as column_name,
  jsonb_agg(
    jsonb_build_object(
      'grantor', pg_get_userbyid(grantor),
      'grantee', case when grantee = 0 then 'PUBLIC' else pg_get_userbyid(grantee) end,
      'privilege_type', privilege_type,
      'is_grantable', is_grantable
    )
    order by grantor, grantee desc, privilege_type desc
  ) as privileges
from rights
group by oid, attnum, nspname, relname, attname
order by nspname, relname, attnum
limit %(limit)s::int8 offset %(offset)s::int8
