-- in: schemas text[], hoisted text[] (settings a function may raise for its whole transaction);
-- out: one json array of [oid, schema, name, comment, parameters, return type schema, return type,
--   returns set, composite, volatility, variadic, isolation, settings],
--   parameters as [name, type, type without length, required, variadic].  Locks none.
with recursive domains as (
  select oid, typbasetype as base from pg_type where typtype = 'd'
  union all
  select d.oid, t.typbasetype from domains d join pg_type t on t.oid = d.base where t.typtype = 'd'
),
bases as (
  select d.oid, d.base from domains d join pg_type t on t.oid = d.base where t.typtype <> 'd'
),
parameters as (
  select
    p.oid,
    json_agg(json_build_array(
      coalesce(name, ''),
      format_type(type, null),
      case type
        when 'bit'::regtype then 'bit varying'
        when 'bit[]'::regtype then 'bit varying[]'
        when 'character'::regtype then 'character varying'
        when 'character[]'::regtype then 'character varying[]'
        else format_type(type, null)
      end,
      ord <= p.pronargs - p.pronargdefaults,
      coalesce(mode = 'v', false)
    ) order by ord) as list,
    case count(*) filter (where coalesce(name, '') = '')
      when 0 then true
      when 1 then count(*) = 1 and bool_and(type in ('bytea'::regtype, 'json'::regtype,
        'jsonb'::regtype, 'text'::regtype, 'xml'::regtype))
      else false
    end as callable
  from pg_proc p, unnest(p.proargnames, p.proargtypes, p.proargmodes)
    with ordinality as _(name, type, mode, ord)
  where type is not null
  group by p.oid
)
select json_agg(json_build_array(
  p.oid::bigint,
  n.nspname,
  p.proname,
  obj_description(p.oid, 'pg_proc'),
  a.list,
  tn.nspname,
  coalesce(tc.relname, t.typname),
  p.proretset,
  t.typtype = 'c' or coalesce(p.proargmodes::text[] && '{t,b,o}', false),
  p.provolatile,
  p.provariadic <> 0,
  (select split_part(c, '=', 2) from unnest(p.proconfig) c
   where c like 'default\_transaction\_isolation=%%' limit 1),
  (select json_agg(json_build_array(split_part(c, '=', 1), substr(c, strpos(c, '=') + 1)))
   from unnest(p.proconfig) c where split_part(c, '=', 1) = any(%(hoisted)s::text[]))
))
from pg_proc p
join pg_namespace n on n.oid = p.pronamespace
left join parameters a on a.oid = p.oid
left join bases b on b.oid = p.prorettype
join pg_type t on t.oid = coalesce(b.base, p.prorettype)
join pg_namespace tn on tn.oid = t.typnamespace
left join pg_class tc on tc.oid = t.typrelid
where p.prokind = 'f'
  and t.oid <> 'trigger'::regtype
  and coalesce(a.callable, true)
  and n.nspname = any(%(schemas)s::text[])
