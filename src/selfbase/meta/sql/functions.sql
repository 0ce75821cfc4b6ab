-- in: included, excluded text[]; ids bigint[]; limit, offset bigint
-- out: functions (no procedures, aggregates or window functions)
select
  p.oid::int8 as id,
  n.nspname as schema,
  p.proname as name,
  l.lanname as language,
  case when l.lanname = 'internal' then '' else p.prosrc end as definition,
  case
    when l.lanname = 'internal' then p.prosrc else pg_get_functiondef(p.oid)
  end as complete_statement,
  coalesce(
    (
      select jsonb_agg(
        jsonb_build_object(
          'mode', case coalesce(arg.mode, 'i')
            when 'i' then 'in' when 'o' then 'out' when 'b' then 'inout'
            when 'v' then 'variadic' else 'table'
          end,
          'name', coalesce(arg.name, ''),
          'type_id', arg.type::int8,
          -- Null for results, which cannot have one.
          'has_default',
          case when arg.is_input then arg.input_place > p.pronargs - p.pronargdefaults end
        )
        order by arg.place
      )
      from (
        select
          every.*,
          coalesce(every.mode, 'i') in ('i', 'b', 'v') as is_input,
          count(*) filter (where coalesce(every.mode, 'i') in ('i', 'b', 'v'))
            over (order by every.place) as input_place
        from rows from (
          unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])),
          unnest(p.proargmodes),
          unnest(p.proargnames)
        ) with ordinality as every (type, mode, name, place)
        -- Without modes the names may be fewer than the types, never more.
        where every.type is not null
      ) arg
    ),
    '[]'
  ) as args,
  pg_get_function_arguments(p.oid) as argument_types,
  pg_get_function_identity_arguments(p.oid) as identity_argument_types,
  p.prorettype::int8 as return_type_id,
  pg_get_function_result(p.oid) as return_type,
  nullif(r.typrelid::int8, 0) as return_type_relation_id,
  p.proretset as is_set_returning_function,
  case when p.proretset then nullif(p.prorows, 0) end as prorows,
  case p.provolatile
    when 'i' then 'IMMUTABLE' when 's' then 'STABLE' else 'VOLATILE'
  end as behavior,
  p.prosecdef as security_definer,
  (
    select jsonb_object_agg(
      split_part(entry, '=', 1), substring(entry from position('=' in entry) + 1)
    )
    from unnest(p.proconfig) as entry
  ) as config_params
from pg_proc p
join pg_namespace n on n.oid = p.pronamespace
join pg_language l on l.oid = p.prolang
join pg_type r on r.oid = p.prorettype
where p.prokind = 'f'
  and (%(included)s::text[] is null or n.nspname = any (%(included)s::text[]))
  and (%(excluded)s::text[] is null or n.nspname <> all (%(excluded)s::text[]))
  and (%(ids)s::int8[] is null or p.oid = any (%(ids)s::int8[]::oid[]))
order by n.nspname, p.proname, p.oid
limit %(limit)s::int8 offset %(offset)s::int8
