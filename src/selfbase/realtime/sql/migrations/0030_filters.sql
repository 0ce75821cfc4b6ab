-- What a filter means, said once and by PostgreSQL itself; and the check of a new subscription.
-- in: the types of 0010; out: cast, check_equality_op, is_visible_through_filters,
-- subscription_check_filters and its trigger, and names that upstream's SQL knows; locks: none.

-- A value in its text form as JSON, as its type has it.  bytea is text here.
create or replace function realtime."cast"(val text, type_ regtype) returns jsonb
language plpgsql immutable
as $$
declare
  result jsonb;
begin
  if type_ = 'bytea'::regtype then
    return to_jsonb(val);
  end if;
  execute format('select to_jsonb(%L::%s)', val, type_::text) into result;
  return result;
end
$$;

create or replace function realtime.check_equality_op(
  op realtime.equality_op, type_ regtype, val_1 text, val_2 text, negate boolean
) returns boolean
language plpgsql stable
as $$
declare
  operator_ text;
  result boolean;
begin
  if op = 'is' then
    if val_2 not in ('null', 'true', 'false', 'unknown') then
      raise exception 'invalid value for is filter: must be null, true, false, or unknown';
    end if;
    execute format(
      'select %L::%s is %s%s', val_1, type_::text, case when negate then 'not ' else '' end, val_2
    ) into result;
    return result;
  end if;
  if op = 'isdistinct' then
    execute format(
      'select %L::%s is %sdistinct from %L::%s',
      val_1, type_::text, case when negate then 'not ' else '' end, val_2, type_::text
    ) into result;
    return result;
  end if;
  operator_ := case op
    when 'eq' then '=' when 'neq' then '<>'
    when 'lt' then '<' when 'lte' then '<=' when 'gt' then '>' when 'gte' then '>='
    when 'in' then '= any'
    when 'like' then 'like' when 'ilike' then 'ilike'
    when 'match' then '~' when 'imatch' then '~*'
  end;
  execute format(
    'select %L::%s %s (%L::%s%s)',
    val_1, type_::text, operator_, val_2, type_::text, case when op = 'in' then '[]' else '' end
  ) into result;
  return case when negate then not result else result end;
end
$$;

create or replace function realtime.check_equality_op(
  op realtime.equality_op, type_ regtype, val_1 text, val_2 text
) returns boolean
language sql stable
as $$ select realtime.check_equality_op(op, type_, val_1, val_2, false) $$;

-- All filters hold; one on a column that the change does not carry never does.
create or replace function realtime.is_visible_through_filters(
  columns realtime.wal_column[], filters realtime.user_defined_filter[]
) returns boolean
language sql stable
as $$
  select coalesce(bool_and(coalesce(
    c.name is not null and realtime.check_equality_op(
      f.op, coalesce(c.type_oid::regtype, c.type_name::regtype), c.value #>> '{}', f.value,
      coalesce(f.negate, false)
    ), false)), true)
  from unnest(filters) as f
  left join unnest(columns) as c on c.name = f.column_name
$$;

-- Refuses what could never be judged when a change comes, and gives filters one order.
create or replace function realtime.subscription_check_filters() returns trigger
language plpgsql
as $$
declare
  filter realtime.user_defined_filter;
  name text;
  type_ regtype;
  selectable constant text[] := coalesce(array(
    select a.attname::text
    from pg_catalog.pg_attribute as a
    where a.attrelid = new.entity and a.attnum > 0 and not a.attisdropped
      and pg_catalog.has_column_privilege(new.claims ->> 'role', a.attrelid, a.attnum, 'SELECT')
  ), '{}');
begin
  foreach filter in array new.filters loop
    if filter.column_name <> all (selectable) then
      raise exception 'invalid column for filter %', filter.column_name;
    end if;
    select a.atttypid::regtype into type_
    from pg_catalog.pg_attribute as a
    where a.attrelid = new.entity and a.attname = filter.column_name;
    if filter.op = 'in' then
      if jsonb_array_length(realtime."cast"(filter.value, (type_::text || '[]')::regtype)) > 100 then
        raise exception 'too many values for `in` filter. Maximum 100';
      end if;
    elsif filter.op = 'is' then
      if filter.value not in ('null', 'true', 'false', 'unknown') then
        raise exception 'invalid value for is filter: must be null, true, false, or unknown';
      elsif filter.value <> 'null' and type_ <> 'boolean'::regtype then
        raise exception 'is % filter requires a boolean column, got %', filter.value, type_::text;
      end if;
    elsif filter.op in ('like', 'ilike', 'match', 'imatch') then
      if not exists (
        select from pg_catalog.pg_operator as o
        where o.oprleft = type_ and o.oprresult = 'boolean'::regtype
          and o.oprname = case filter.op
            when 'like' then '~~' when 'ilike' then '~~*' when 'match' then '~' else '~*'
          end
      ) then
        raise exception 'operator % requires a text-compatible column type, got %', filter.op::text, type_::text;
      end if;
      begin
        perform realtime.check_equality_op(filter.op, 'text', '', filter.value, false);
      exception when others then
        raise exception 'invalid regular expression for % filter: %', filter.op::text, sqlerrm;
      end;
    else
      perform realtime."cast"(filter.value, type_);
    end if;
  end loop;

  if new.selected_columns is not null then
    foreach name in array new.selected_columns loop
      if name <> all (selectable) then
        raise exception 'invalid column for select %', name;
      end if;
    end loop;
  end if;
  new.filters := coalesce(
    (select array_agg(f order by f.column_name, f.op, f.value, f.negate) from unnest(new.filters) as f), '{}'
  );
  new.selected_columns := (select array_agg(c order by c) from unnest(new.selected_columns) as c);
  return new;
end
$$;

drop trigger if exists tr_check_filters on realtime.subscription;
create trigger tr_check_filters
  before insert or update on realtime.subscription
  for each row execute function realtime.subscription_check_filters();

-- Names that SQL written for upstream may call.
create or replace function realtime.quote_wal2json(entity regclass) returns text
language sql stable strict
as $$
  select string_agg(regexp_replace(part, '([\\,.[:space:]])', '\\\1', 'g'), '.' order by place)
  from pg_catalog.pg_class as c
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace,
  lateral (values (1, n.nspname::text), (2, c.relname::text)) as parts (place, part)
  where c.oid = entity
$$;

create or replace function realtime.build_prepared_statement_sql(
  prepared_statement_name text, entity regclass, columns realtime.wal_column[]
) returns text
language sql stable
as $$
  select format(
    'prepare %I as select exists(select 1 from %s where %s)', prepared_statement_name, entity,
    string_agg(format('%I = %L', c.name, c.value #>> '{}'), ' and ')
  )
  from unnest(columns) as c
  where c.is_pkey
$$;
