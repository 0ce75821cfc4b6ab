-- in: ids bigint[]; limit, offset bigint
-- out: publications; tables is null when all tables are published
select
  p.oid::int8 as id,
  p.pubname as name,
  o.rolname as owner,
  p.pubinsert as publish_insert,
  p.pubupdate as publish_update,
  p.pubdelete as publish_delete,
  p.pubtruncate as publish_truncate,
  case
    when not p.puballtables then coalesce(
      (
        select jsonb_agg(
          jsonb_build_object('id', c.oid::int8, 'name', c.relname, 'schema', n.nspname)
          order by n.nspname, c.relname
        )
        from pg_publication_rel m
        join pg_class c on c.oid = m.prrelid
        join pg_namespace n on n.oid = c.relnamespace
        where m.prpubid = p.oid
      ),
      '[]'
    )
  end as tables
from pg_publication p
join pg_roles o on o.oid = p.pubowner
where (%(ids)s::int8[] is null or p.oid = any (%(ids)s::int8[]::oid[]))
order by p.pubname
limit %(limit)s::int8 offset %(offset)s::int8
