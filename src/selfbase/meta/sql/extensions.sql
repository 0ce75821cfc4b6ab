-- in: names text[]; limit, offset bigint
-- out: extensions that are there to be created, with what is created of them
select
  e.name,
  n.nspname as schema,
  e.default_version,
  x.extversion as installed_version,
  e.comment
from pg_available_extensions() e (name, default_version, comment)
left join pg_extension x on x.extname = e.name
left join pg_namespace n on n.oid = x.extnamespace
where %(names)s::text[] is null or e.name = any (%(names)s::text[]::name[])
order by e.name
limit %(limit)s::int8 offset %(offset)s::int8
