-- in: included, excluded text[]; ids bigint[]; limit, offset bigint
-- out: triggers that somebody made, on tables and views the role has any right on but SELECT
select
  t.oid::int8 as id,
  t.tgrelid::int8 as table_id,
  case t.tgenabled
    when 'D' then 'DISABLED' when 'R' then 'REPLICA' when 'A' then 'ALWAYS' else 'ORIGIN'
  end as enabled_mode,
  -- tgargs holds each argument followed by a zero byte; text cannot hold one, hexadecimal can.
  array(
    select convert_from(decode(replace(piece, ' ', ''), 'hex'), getdatabaseencoding())
    from unnest(
      string_to_array(regexp_replace(encode(t.tgargs, 'hex'), '(..)', ' \1', 'g'), ' 00')
    ) with ordinality as argument (piece, place)
    where place <= t.tgnargs
    order by place
  ) as function_args,
  t.tgname as name,
  c.relname as "table",
  n.nspname as schema,
  case
    when t.tgqual is not null and pg_has_role(c.relowner, 'USAGE') then
      substring(pg_get_triggerdef(t.oid) from ' WHEN \((.+)\) EXECUTE FUNCTION ')
  end as condition,
  case when t.tgtype & 1 = 1 then 'ROW' else 'STATEMENT' end as orientation,
  case
    when t.tgtype & 64 = 64 then 'INSTEAD OF' when t.tgtype & 2 = 2 then 'BEFORE' else 'AFTER'
  end as activation,
  array(
    select event.name
    from (values (4, 'INSERT'), (8, 'DELETE'), (16, 'UPDATE'), (32, 'TRUNCATE')) event (bit, name)
    where t.tgtype & event.bit = event.bit
    order by event.bit
  ) as events,
  f.proname as function_name,
  fn.nspname as function_schema
from pg_trigger t
join pg_class c on c.oid = t.tgrelid
join pg_namespace n on n.oid = c.relnamespace
join pg_proc f on f.oid = t.tgfoid
join pg_namespace fn on fn.oid = f.pronamespace
where not t.tgisinternal
  and (%(included)s::text[] is null or n.nspname = any (%(included)s::text[]))
  and (%(excluded)s::text[] is null or n.nspname <> all (%(excluded)s::text[]))
  and (%(ids)s::int8[] is null or t.oid = any (%(ids)s::int8[]::oid[]))
  and not pg_is_other_temp_schema(n.oid)
  and (
    pg_has_role(c.relowner, 'USAGE')
    or has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
    or has_any_column_privilege(c.oid, 'INSERT, UPDATE, REFERENCES')
  )
order by n.nspname, c.relname, t.tgname
limit %(limit)s::int8 offset %(offset)s::int8
