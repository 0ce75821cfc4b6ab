-- in: included, excluded text[]; ids bigint[]; limit, offset bigint
-- out: rights on relations the role has any right on itself; defaults are spelled out.  In the order
--      of the access list; when single relations are asked for, the rights of each grantee from the
--      last to the first (parity: a changed plan turns them around upstream)
with page as materialized (
  select c.oid, n.nspname, c.relname, c.relkind, c.relacl, c.relowner
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'v', 'm', 'f', 'p')
    and (%(included)s::text[] is null or n.nspname = any (%(included)s::text[]))
    and (%(excluded)s::text[] is null or n.nspname <> all (%(excluded)s::text[]))
    and (%(ids)s::int8[] is null or c.oid = any (%(ids)s::int8[]::oid[]))
    and not pg_is_other_temp_schema(n.oid)
    and (
      pg_has_role(c.relowner, 'USAGE')
      or has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
      or has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
    )
  order by n.nspname, c.relname
  limit %(limit)s::int8 offset %(offset)s::int8
)
select
  p.oid::int8 as relation_id,
  p.nspname as schema,
  p.relname as name,
  case p.relkind
    when 'r' then 'table' when 'v' then 'view' when 'm' then 'materialized_view'
    when 'f' then 'foreign_table' else 'partitioned_table'
  end as kind,
  coalesce(
    (
      select jsonb_agg(
        jsonb_build_object(
          'grantor', pg_get_userbyid(g.grantor),
          'grantee', case when g.grantee = 0 then 'PUBLIC' else pg_get_userbyid(g.grantee) end,
          'privilege_type', g.privilege_type,
          'is_grantable', g.is_grantable
        )
        order by g.entry, case when %(ids)s::int8[] is null then g.place else -g.place end
      )
      from (
        select a.*, min(a.place) over (partition by a.grantor, a.grantee) as entry
        from aclexplode(coalesce(p.relacl, acldefault('r', p.relowner)))
          with ordinality a (grantor, grantee, privilege_type, is_grantable, place)
      ) g
    ),
    '[]'
  ) as privileges
from page p
order by p.nspname, p.relname
