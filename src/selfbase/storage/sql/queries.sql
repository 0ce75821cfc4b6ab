-- The fixed SQL of the storage service.  Every statement gives rows of one JSON column; times are
-- ISO 8601 text in UTC with milliseconds.  What runs as the caller and what as the service is said
-- where it is called.

-- name: _iso
'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'

-- name: _bucket
json_build_object(
  'id', b.id, 'name', b.name, 'public', b.public, 'owner', b.owner, 'owner_id', b.owner_id,
  'file_size_limit', b.file_size_limit, 'allowed_mime_types', b.allowed_mime_types, 'type', b.type,
  'created_at', to_char(b.created_at at time zone 'UTC', <iso>),
  'updated_at', to_char(b.updated_at at time zone 'UTC', <iso>)
)

-- name: _object
json_build_object(
  'id', o.id, 'bucket_id', o.bucket_id, 'name', o.name, 'version', o.version,
  'owner', o.owner, 'owner_id', o.owner_id,
  'metadata', coalesce(o.metadata, '{}'), 'user_metadata', o.user_metadata,
  'created_at', to_char(o.created_at at time zone 'UTC', <iso>),
  'updated_at', to_char(o.updated_at at time zone 'UTC', <iso>),
  'last_accessed_at', to_char(o.last_accessed_at at time zone 'UTC', <iso>)
)

-- name: find_bucket
-- in $1 bucket id; out 0..1 bucket
select <bucket> from storage.buckets as b where b.id = $1

-- name: find_bucket_for_update
-- in $1 bucket id; out 0..1 bucket; locks it
select <bucket> from storage.buckets as b where b.id = $1 for update

-- name: list_buckets
-- in $1 limit or null, $2 offset, $3 search pattern or null; out one JSON array; <order> is put in
select coalesce(json_agg(<bucket>), '[]')
from (
  select * from storage.buckets
  where $3::text is null or name ilike $3
  order by <order>
  limit $1::bigint offset $2::bigint
) as b

-- name: insert_bucket
-- in id, name, public, owner uuid, owner id, size limit, MIME types as JSON; no rows
insert into storage.buckets (id, name, public, owner, owner_id, file_size_limit, allowed_mime_types)
values (
  $1, $2, $3::boolean, $4::uuid, $5, $6::bigint,
  case when $7::jsonb is null then null else array(select jsonb_array_elements_text($7::jsonb)) end
)

-- name: update_bucket
-- in id, public or null, whether to set the limit, the limit, whether to set the types, the types as
-- JSON; out 0..1 id
update storage.buckets as b
set public = coalesce($2::boolean, b.public),
  file_size_limit = case when $3::boolean then $4::bigint else b.file_size_limit end,
  allowed_mime_types = case
    when not $5::boolean then b.allowed_mime_types
    when $6::jsonb is null then null
    else array(select jsonb_array_elements_text($6::jsonb))
  end,
  updated_at = now()
where b.id = $1
returning to_json(b.id)

-- name: has_objects
-- in bucket id; out 1 boolean
select to_json(exists (select from storage.objects where bucket_id = $1))

-- name: delete_bucket
-- in bucket id; out 0..1 id
delete from storage.buckets as b where b.id = $1 returning to_json(b.id)

-- name: read_moment
-- out 1 number: seconds since the epoch
select to_json(extract(epoch from clock_timestamp()))

-- name: count_objects
-- in bucket id, most to count; out 1 number
select to_json(count(*)) from (select from storage.objects where bucket_id = $1 limit $2::bigint) as o

-- name: delete_some_objects
-- in bucket id, moment, how many; out versions of the rows deleted, oldest first
delete from storage.objects as o
where o.id in (
  select id from storage.objects
  where bucket_id = $1 and created_at <= to_timestamp($2::double precision)
  order by id
  limit $3::bigint
  for update skip locked
)
returning to_json(o.version)

-- name: find_object
-- in bucket id, name; out 0..1 object
select <object> from storage.objects as o where o.bucket_id = $1 and o.name = $2

-- name: find_object_for_update
-- in bucket id, name; out 0..1 object; locks it
select <object> from storage.objects as o where o.bucket_id = $1 and o.name = $2 for update

-- name: can_see_object
-- in bucket id, name; out 0..1 true
select to_json(true) from storage.objects where bucket_id = $1 and name = $2

-- name: find_bucket_and_object
-- in bucket id, name; out 0..1 {public, object or null}
select json_build_object('public', b.public, 'object', case when o.id is null then null else <object> end)
from storage.buckets as b
left join storage.objects as o on o.bucket_id = b.id and o.name = $2
where b.id = $1

-- name: list_names
-- in bucket id, names as JSON; out the names that are there
select to_json(o.name) from storage.objects as o
where o.bucket_id = $1 and o.name = any (array(select jsonb_array_elements_text($2::jsonb)))

-- name: try_insert
-- in bucket id, name, owner uuid, owner id, metadata, user metadata; no rows.  Without RETURNING, so
-- that an INSERT policy alone is enough.
insert into storage.objects (bucket_id, name, version, owner, owner_id, metadata, user_metadata)
values ($1, $2, '1', $3::uuid, $4, $5::jsonb, $6::jsonb)

-- name: try_upsert
-- as try_insert; out 1 id.  Needs INSERT, SELECT and UPDATE, as users' policies expect.
insert into storage.objects as o (bucket_id, name, version, owner, owner_id, metadata, user_metadata)
values ($1, $2, '1', $3::uuid, $4, $5::jsonb, $6::jsonb)
on conflict (name, bucket_id) do update
set version = excluded.version, metadata = excluded.metadata,
  user_metadata = coalesce(excluded.user_metadata, o.user_metadata),
  owner = coalesce(excluded.owner, o.owner), owner_id = coalesce(excluded.owner_id, o.owner_id)
returning to_json(o.id)

-- name: lock_object
-- in bucket id, name; out 1 row.  Serialises writers of one key until the transaction ends.
select to_json(pg_advisory_xact_lock(hashtextextended($1::text || '/' || $2::text, 0)) is null)

-- name: insert_object
-- in bucket id, name, version, owner uuid, owner id, metadata, user metadata; out 1 {object, old}
insert into storage.objects as o (bucket_id, name, version, owner, owner_id, metadata, user_metadata)
values ($1, $2, $3, $4::uuid, $5, $6::jsonb, $7::jsonb)
returning json_build_object('object', <object>, 'old', null)

-- name: upsert_object
-- as insert_object; `old` is the version that was replaced, read from the snapshot the statement
-- began with: the key's lock was taken before.  A service that uploads for nobody
-- leaves the owner as it was.
with previous as materialized (
  select version from storage.objects where bucket_id = $1 and name = $2
)
insert into storage.objects as o (bucket_id, name, version, owner, owner_id, metadata, user_metadata)
values ($1, $2, $3, $4::uuid, $5, $6::jsonb, $7::jsonb)
on conflict (name, bucket_id) do update
set version = excluded.version, metadata = excluded.metadata, user_metadata = excluded.user_metadata,
  owner = coalesce(excluded.owner, o.owner), owner_id = coalesce(excluded.owner_id, o.owner_id)
returning json_build_object('object', <object>, 'old', (select version from previous))

-- name: delete_object
-- in bucket id, name; out 0..1 object
delete from storage.objects as o where o.bucket_id = $1 and o.name = $2 returning <object>

-- name: delete_objects
-- in bucket id, names as JSON; out the objects deleted
delete from storage.objects as o
where o.bucket_id = $1 and o.name = any (array(select jsonb_array_elements_text($2::jsonb)))
returning <object>

-- name: move_object
-- in bucket id, name, new bucket id, new name, owner uuid, owner id; out 0..1 object
update storage.objects as o
set bucket_id = $3, name = $4, owner = coalesce($5::uuid, o.owner), owner_id = coalesce($6, o.owner_id)
where o.bucket_id = $1 and o.name = $2
returning <object>

-- name: search
-- in bucket id, prefix, limit, levels, offset, search, sort column, sort order; out one JSON array
select coalesce(json_agg(json_build_object(
  'name', s.name, 'id', s.id,
  'updated_at', to_char(s.updated_at at time zone 'UTC', <iso>),
  'created_at', to_char(s.created_at at time zone 'UTC', <iso>),
  'last_accessed_at', to_char(s.last_accessed_at at time zone 'UTC', <iso>),
  'metadata', s.metadata
)), '[]')
from storage.search($2, $1, $3::integer, $4::integer, $5::integer, $6, $7, $8) as s

-- name: search_v2
-- in bucket id, prefix, limit, levels, start after, sort order, sort column, column after; out one
-- JSON array of {key, name, id, …}
select coalesce(json_agg(json_build_object(
  'key', s.key, 'name', s.name, 'id', s.id,
  'updated_at', to_char(s.updated_at at time zone 'UTC', <iso>),
  'created_at', to_char(s.created_at at time zone 'UTC', <iso>),
  'last_accessed_at', to_char(s.last_accessed_at at time zone 'UTC', <iso>),
  'metadata', s.metadata
)), '[]')
from storage.search_v2($2, $1, $3::integer, $4::integer, $5, $6, $7, $8) as s

-- name: list_flat
-- in bucket id, prefix, its end, limit, last name or null, last time or null; out one JSON array of
-- objects.  <after> and <order> are put in.
select coalesce(json_agg(<object>), '[]')
from (
  select * from storage.objects
  where bucket_id = $1 and name collate "C" >= $2 and name collate "C" < $3
    and ($5::text is null or <after>)
  order by <order>
  limit $4::integer
) as o

-- name: list_delimited
-- in bucket id, prefix, delimiter, limit, start after, next token; out one JSON array whose folders
-- have a null id
select coalesce(json_agg(json_build_object(
  'name', s.name, 'id', s.id, 'metadata', s.metadata,
  'updated_at', to_char(s.updated_at at time zone 'UTC', <iso>),
  'created_at', to_char(s.created_at at time zone 'UTC', <iso>),
  'last_accessed_at', to_char(s.last_accessed_at at time zone 'UTC', <iso>)
)), '[]')
from storage.list_objects_with_delimiter($1, $2, $3, $4::integer, $5, $6) as s

-- name: list_live_versions
-- in versions as JSON; out those that some object has
select to_json(o.version) from storage.objects as o
where o.version = any (array(select jsonb_array_elements_text($1::jsonb)))

-- name: list_live_parts
-- in versions as JSON; out those that some part of an unfinished S3 upload has
select to_json(p.version) from storage.s3_multipart_uploads_parts as p
where p.version = any (array(select jsonb_array_elements_text($1::jsonb)))

-- name: check_health
select to_json(count(*)) from (select from storage.buckets limit 1) as b

-- name: list_live_growing
-- in ids as JSON; out those of resumable uploads that have not expired
select to_json(u.id) from _selfbase.resumable_uploads as u
where u.id = any (array(select jsonb_array_elements_text($1::jsonb)))

-- name: delete_expired_resumables
-- out the ids of resumable uploads whose time is over
delete from _selfbase.resumable_uploads as u where u.expires_at < now() returning to_json(u.id)

-- name: delete_expired_multiparts
-- in seconds; out the ids of S3 uploads that nobody has added to for that long
delete from storage.s3_multipart_uploads as u
where greatest(
  u.created_at,
  (select max(p.created_at) from storage.s3_multipart_uploads_parts as p where p.upload_id = u.id)
) < now() - make_interval(secs => $1::double precision)
returning to_json(u.id)

-- name: _resumable
json_build_object(
  'id', u.id, 'bucket_id', u.bucket_id, 'name', u.name, 'length', u.length, 'received', u.received,
  'segments', u.segments, 'raw_metadata', u.raw_metadata, 'mime_type', u.mime_type,
  'cache_control', u.cache_control, 'user_metadata', u.user_metadata, 'owner_id', u.owner_id,
  'upsert', u.upsert, 'expires_at', extract(epoch from u.expires_at)
)

-- name: insert_resumable
-- in id, bucket id, name, length or null, raw metadata, type, cache control, user metadata, owner id,
-- upsert, seconds to live; out 1 upload
insert into _selfbase.resumable_uploads as u (
  id, bucket_id, name, length, raw_metadata, mime_type, cache_control, user_metadata, owner_id, upsert,
  expires_at
)
values (
  $1, $2, $3, $4::bigint, $5, $6, $7, $8::jsonb, $9, $10::boolean,
  now() + make_interval(secs => $11::double precision)
)
returning <resumable>

-- name: find_resumable
-- in id; out 0..1 upload that has not expired
select <resumable> from _selfbase.resumable_uploads as u where u.id = $1 and u.expires_at > now()

-- name: find_completed
-- in id, bucket id, name; out 0..1 object made of that upload
select <object> from storage.objects as o where o.bucket_id = $2 and o.name = $3 and o.version = $1

-- name: record_segment
-- in id, bytes received before, bytes received now, the segment as JSON, length or null, seconds to
-- live; out 0..1 upload.  Nothing happens when somebody else recorded meanwhile.
update _selfbase.resumable_uploads as u
set received = $3::bigint, segments = u.segments || jsonb_build_array($4::jsonb),
  length = coalesce(u.length, $5::bigint),
  expires_at = now() + make_interval(secs => $6::double precision)
where u.id = $1 and u.received = $2::bigint
returning <resumable>

-- name: delete_resumable
-- in id; out 0..1 id
delete from _selfbase.resumable_uploads as u where u.id = $1 returning to_json(u.id)
