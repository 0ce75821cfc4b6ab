-- Listing as with folders, over names that hold slashes.  Cost follows what is returned, not what is
-- stored: the next name is looked up in the index; when it lies in a folder, the folder is returned
-- and all its names are jumped over; when not, files are read in batches until a folder comes.
-- Names compare byte by byte.  chr(1) is the smallest and chr(1114111) the largest character that can
-- follow, so `x || chr(1)` means just after x and `x || chr(1114111)` after all that begin with x.

create or replace function storage.get_common_prefix(p_key text, p_prefix text, p_delimiter text)
returns text
language sql immutable
as $$
  select left(
    p_key,
    length(p_prefix) + length(p_delimiter) - 1
      + nullif(position(p_delimiter in substr(p_key, length(p_prefix) + 1)), 0)
  )
$$;

-- Folders come without the delimiter and with a null id.  `start_after` is a plain name.  `next_token`
-- is where the last page ended: with the delimiter at its end it means that folder, without it a
-- file of that name, or a folder where no such file is.
create or replace function storage.list_objects_with_delimiter(
  _bucket_id text,
  prefix_param text,
  delimiter_param text,
  max_keys integer default 100,
  start_after text default '',
  next_token text default '',
  sort_order text default 'asc'
)
returns table (
  name text, id uuid, metadata jsonb,
  updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz
)
language plpgsql stable
as $$
declare
  ascending constant boolean := lower(coalesce(sort_order, 'asc')) <> 'desc';
  base constant text := coalesce(prefix_param, '');
  low constant text := base;
  high constant text := base || chr(1114111);
  batch constant integer := least(greatest(max_keys, 100), 1000);
  token text := coalesce(next_token, '');
  seek text := case when ascending then low else high end;
  after constant text := coalesce(start_after, '');
  left_over integer := coalesce(max_keys, 100);
  peeked text;
  folder text;
  found_row record;
begin
  if token <> '' then
    if right(token, length(delimiter_param)) <> delimiter_param
      and not exists (
        select from storage.objects as o
        where o.bucket_id = _bucket_id and o.name collate "C" = token collate "C"
      )
      and exists (
        select from storage.objects as o
        where o.bucket_id = _bucket_id
          and o.name collate "C" >= token || delimiter_param
          and o.name collate "C" < token || delimiter_param || chr(1114111)
      )
    then
      token := token || delimiter_param;
    end if;
    if not ascending then
      seek := token;
    elsif right(token, length(delimiter_param)) = delimiter_param then
      seek := token || chr(1114111);
    else
      seek := token || chr(1);
    end if;
  elsif after <> '' then
    seek := case when ascending then after || chr(1) else after end;
  end if;
  if ascending and seek collate "C" < low collate "C" then
    seek := low;
  elsif not ascending and seek collate "C" > high collate "C" then
    seek := high;
  end if;

  while left_over > 0 loop
    if ascending then
      select o.name into peeked from storage.objects as o
      where o.bucket_id = _bucket_id and o.name collate "C" >= seek and o.name collate "C" < high
      order by o.name collate "C" limit 1;
    else
      select o.name into peeked from storage.objects as o
      where o.bucket_id = _bucket_id and o.name collate "C" < seek and o.name collate "C" >= low
      order by o.name collate "C" desc limit 1;
    end if;
    exit when peeked is null;

    folder := storage.get_common_prefix(peeked, base, delimiter_param);
    if folder is not null then
      seek := case when ascending then folder || chr(1114111) else folder end;
      -- What a page before ended inside of has been returned.
      if ascending and folder collate "C" <= after collate "C" and token = '' then
        continue;
      end if;
      name := left(folder, -length(delimiter_param));
      id := null;
      metadata := null;
      updated_at := null;
      created_at := null;
      last_accessed_at := null;
      return next;
      left_over := left_over - 1;
      continue;
    end if;

    -- As text, so that every batch is planned for its size and goes by the index.
    for found_row in execute
      case when ascending
        then 'select o.name, o.id, o.metadata, o.updated_at, o.created_at, o.last_accessed_at'
          ' from storage.objects as o'
          ' where o.bucket_id = $1 and o.name collate "C" >= $2 and o.name collate "C" < $3'
          ' order by o.name collate "C" limit $5'
        else 'select o.name, o.id, o.metadata, o.updated_at, o.created_at, o.last_accessed_at'
          ' from storage.objects as o'
          ' where o.bucket_id = $1 and o.name collate "C" < $2 and o.name collate "C" >= $4'
          ' order by o.name collate "C" desc limit $5'
      end
      using _bucket_id, seek, high, low, least(batch, left_over)
    loop
      exit when storage.get_common_prefix(found_row.name, base, delimiter_param) is not null;
      name := found_row.name;
      id := found_row.id;
      metadata := found_row.metadata;
      updated_at := found_row.updated_at;
      created_at := found_row.created_at;
      last_accessed_at := found_row.last_accessed_at;
      return next;
      left_over := left_over - 1;
      seek := case when ascending then name || chr(1) else name end;
    end loop;
  end loop;
end
$$;

-- List v1.  Case does not count; names come relative to `prefix`; at most 1,500 rows.  By name, files
-- and folders are mixed; by anything else folders come first.
create or replace function storage.search(
  prefix text,
  bucketname text,
  limits integer default 100,
  levels integer default 1,
  offsets integer default 0,
  search text default '',
  sortcolumn text default 'name',
  sortorder text default 'asc'
)
returns table (
  name text, id uuid,
  updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz, metadata jsonb
)
language plpgsql stable
as $$
declare
  ascending constant boolean := lower(coalesce(sortorder, 'asc')) = 'asc';
  base constant text := coalesce(prefix, '') || coalesce(search, '');
  base_length constant integer := length(coalesce(prefix, ''));
  low constant text := lower(base);
  high constant text := lower(base) || chr(1114111);
  seek text := case when ascending then low else high end;
  left_over integer := least(coalesce(limits, 100), 1500);
  to_skip integer := greatest(coalesce(offsets, 0), 0);
  peeked text;
  folder text;
  found_row record;
begin
  if lower(coalesce(sortcolumn, 'name')) in ('updated_at', 'created_at', 'last_accessed_at') then
    return query execute format(
      $sql$
        with matching as (
          select o.*, storage.get_common_prefix(o.name, $1, '/') as folder
          from storage.objects as o
          where o.bucket_id = $2 and lower(o.name) collate "C" >= $3 and lower(o.name) collate "C" < $4
        ),
        entries as (
          select distinct on (substr(m.folder, $5)) true as is_folder, rtrim(substr(m.folder, $5), '/') as name,
            null::uuid as id, null::timestamptz as updated_at, null::timestamptz as created_at,
            null::timestamptz as last_accessed_at, null::jsonb as metadata
          from matching as m where m.folder is not null
          union all
          select false, substr(m.name, $5), m.id, m.updated_at, m.created_at, m.last_accessed_at, m.metadata
          from matching as m where m.folder is null
        )
        select e.name, e.id, e.updated_at, e.created_at, e.last_accessed_at, e.metadata
        from entries as e
        order by e.is_folder desc, case when e.is_folder then e.name end %1$s, e.%2$I %1$s, e.name %1$s
        limit $6 offset $7
      $sql$,
      case when ascending then 'asc' else 'desc' end,
      lower(sortcolumn)
    )
    using base, bucketname, low, high, base_length + 1, left_over, to_skip;
    return;
  end if;

  while left_over > 0 loop
    if ascending then
      select o.name into peeked from storage.objects as o
      where o.bucket_id = bucketname
        and lower(o.name) collate "C" >= seek and lower(o.name) collate "C" < high
      order by lower(o.name) collate "C" limit 1;
    else
      select o.name into peeked from storage.objects as o
      where o.bucket_id = bucketname
        and lower(o.name) collate "C" < seek and lower(o.name) collate "C" >= low
      order by lower(o.name) collate "C" desc limit 1;
    end if;
    exit when peeked is null;

    folder := storage.get_common_prefix(peeked, base, '/');
    if folder is not null then
      seek := lower(folder) || case when ascending then chr(1114111) else '' end;
      if to_skip > 0 then
        to_skip := to_skip - 1;
        continue;
      end if;
      name := rtrim(substr(folder, base_length + 1), '/');
      id := null;
      updated_at := null;
      created_at := null;
      last_accessed_at := null;
      metadata := null;
      return next;
      left_over := left_over - 1;
      continue;
    end if;

    for found_row in execute
      case when ascending
        then 'select o.name, o.id, o.metadata, o.updated_at, o.created_at, o.last_accessed_at'
          ' from storage.objects as o'
          ' where o.bucket_id = $1 and lower(o.name) collate "C" >= $2 and lower(o.name) collate "C" < $3'
          ' order by lower(o.name) collate "C" limit $5'
        else 'select o.name, o.id, o.metadata, o.updated_at, o.created_at, o.last_accessed_at'
          ' from storage.objects as o'
          ' where o.bucket_id = $1 and lower(o.name) collate "C" < $2 and lower(o.name) collate "C" >= $4'
          ' order by lower(o.name) collate "C" desc limit $5'
      end
      using bucketname, seek, high, low, least(1000, greatest(100, left_over + to_skip))
    loop
      exit when left_over = 0;
      exit when storage.get_common_prefix(found_row.name, base, '/') is not null;
      seek := lower(found_row.name) || case when ascending then chr(1) else '' end;
      if to_skip > 0 then
        to_skip := to_skip - 1;
        continue;
      end if;
      name := substr(found_row.name, base_length + 1);
      id := found_row.id;
      updated_at := found_row.updated_at;
      created_at := found_row.created_at;
      last_accessed_at := found_row.last_accessed_at;
      metadata := found_row.metadata;
      return next;
      left_over := left_over - 1;
    end loop;
  end loop;
end
$$;

-- List v2 with folders, by a time.  Reads every name under the prefix.  A folder's times are those of
-- its first object.  Pages go on after (time to the millisecond, name).
create or replace function storage.search_by_timestamp(
  p_prefix text,
  p_bucket_id text,
  p_limit integer,
  p_level integer,
  p_start_after text,
  p_sort_order text,
  p_sort_column text,
  p_sort_column_after text
)
returns table (
  key text, name text, id uuid,
  updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz, metadata jsonb
)
language plpgsql stable
as $$
begin
  return query execute format(
    $sql$
      with matching as (
        select o.*, storage.get_common_prefix(o.name, $1, '/') as folder
        from storage.objects as o
        where o.bucket_id = $2 and o.name collate "C" >= $1 and o.name collate "C" < $1 || chr(1114111)
      ),
      entries as (
        select rtrim(m.folder, '/') as name, null::uuid as id, min(m.created_at) as updated_at,
          min(m.created_at) as created_at, null::timestamptz as last_accessed_at, null::jsonb as metadata
        from matching as m where m.folder is not null group by m.folder
        union all
        select m.name, m.id, m.updated_at, m.created_at, m.last_accessed_at, m.metadata
        from matching as m where m.folder is null
      ),
      timed as (
        select e.*, coalesce(date_trunc('milliseconds', e.%1$I), 'epoch'::timestamptz) as moment
        from entries as e
      )
      select split_part(t.name, '/', $3), t.name, t.id, t.updated_at, t.created_at, t.last_accessed_at, t.metadata
      from timed as t
      where $5 = ''
        or (t.moment, t.name collate "C")
          %2$s (coalesce(nullif($6, '')::timestamptz, 'epoch'::timestamptz), rtrim($5, '/') collate "C")
      order by t.moment %3$s, t.name collate "C" %3$s
      limit $4
    $sql$,
    case when p_sort_column = 'updated_at' then 'updated_at' else 'created_at' end,
    case when p_sort_order = 'desc' then '<' else '>' end,
    case when p_sort_order = 'desc' then 'desc' else 'asc' end
  )
  using coalesce(p_prefix, ''), p_bucket_id, p_level, p_limit, coalesce(p_start_after, ''), p_sort_column_after;
end
$$;

-- List v2 with folders.  Names are whole and `key` is their segment number `levels`; at most 1,500 rows.
create or replace function storage.search_v2(
  prefix text,
  bucket_name text,
  limits integer default 100,
  levels integer default 1,
  start_after text default '',
  sort_order text default 'asc',
  sort_column text default 'name',
  sort_column_after text default ''
)
returns table (
  key text, name text, id uuid,
  updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz, metadata jsonb
)
language plpgsql stable
as $$
declare
  wanted constant text := lower(coalesce(sort_column, 'name'));
  direction constant text := case when lower(coalesce(sort_order, 'asc')) = 'desc' then 'desc' else 'asc' end;
  most constant integer := least(coalesce(limits, 100), 1500);
begin
  if wanted in ('updated_at', 'created_at') then
    return query
    select * from storage.search_by_timestamp(
      prefix, bucket_name, most, levels, start_after, direction, wanted, sort_column_after
    );
  else
    return query
    select split_part(l.name, '/', levels), l.name, l.id, l.updated_at, l.created_at, l.last_accessed_at, l.metadata
    from storage.list_objects_with_delimiter(bucket_name, prefix, '/', most, '', start_after, direction) as l;
  end if;
end
$$;

-- Unfinished S3 uploads by key and age, keys with the delimiter after the prefix rolled up.
create or replace function storage.list_multipart_uploads_with_delimiter(
  bucket_id text,
  prefix_param text,
  delimiter_param text,
  max_keys integer default 100,
  next_key_token text default '',
  next_upload_token text default ''
)
returns table (key text, id text, created_at timestamptz)
language sql stable
as $$
  select distinct on (e.shown) e.shown, e.id, e.created_at
  from (
    select
      coalesce(
        case when delimiter_param <> '' then storage.get_common_prefix(u.key, prefix_param, delimiter_param) end,
        u.key
      ) collate "C" as shown,
      u.id, u.created_at
    from storage.s3_multipart_uploads as u
    where u.bucket_id = list_multipart_uploads_with_delimiter.bucket_id
      and u.key >= prefix_param and u.key < prefix_param || chr(1114111)
  ) as e
  where case
    when next_upload_token <> '' then e.id collate "C" > next_upload_token
    when next_key_token <> '' then e.shown > next_key_token
    else true
  end
  order by e.shown, e.created_at
  limit max_keys
$$;
