-- The fixed SQL of S3 multipart uploads and stored credentials.  Every statement gives rows of one
-- JSON column; times are ISO 8601 text in UTC.

-- name: _iso
'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'

-- name: _upload
json_build_object(
  'id', u.id, 'bucket_id', u.bucket_id, 'key', u.key, 'version', u.version, 'owner_id', u.owner_id,
  'metadata', coalesce(u.metadata, '{}'), 'user_metadata', coalesce(u.user_metadata, '{}'),
  'created_at', to_char(u.created_at at time zone 'UTC', <iso>)
)

-- name: _part
json_build_object(
  'number', p.part_number, 'size', p.size, 'etag', p.etag, 'version', p.version,
  'created_at', to_char(p.created_at at time zone 'UTC', <iso>)
)

-- name: insert_upload
-- in id, bucket id, key, version, owner id, metadata, user metadata; no rows
insert into storage.s3_multipart_uploads
  (id, upload_signature, bucket_id, key, version, owner_id, metadata, user_metadata)
values ($1, '', $2, $3, $4, $5, $6::jsonb, $7::jsonb)

-- name: find_upload
-- in id, bucket id, key; out 0..1 upload
select <upload> from storage.s3_multipart_uploads as u
where u.id = $1 and u.bucket_id = $2 and u.key = $3

-- name: lock_upload
-- in id; out 0..1 true; parts of one upload are recorded one after the other
select to_json(true) from storage.s3_multipart_uploads where id = $1 for update

-- name: replace_part
-- in upload id, part number, size, etag, version, owner id, most bytes in all; out 0..1 {old}: the
-- versions this part replaces.  No row when the upload is gone or would become too large.
with upload as (
  select * from storage.s3_multipart_uploads where id = $1
), others as (
  select coalesce(sum(size), 0) as size from storage.s3_multipart_uploads_parts
  where upload_id = $1 and part_number <> $2::integer
), fits as (
  select upload.* from upload, others where others.size + $3::bigint <= $7::bigint
), old as (
  delete from storage.s3_multipart_uploads_parts as p using fits
  where p.upload_id = fits.id and p.part_number = $2::integer
  returning p.version
), new as (
  insert into storage.s3_multipart_uploads_parts
    (upload_id, size, part_number, bucket_id, key, etag, owner_id, version)
  select id, $3::bigint, $2::integer, bucket_id, key, $4, $6, $5 from fits
  returning 1
), counted as (
  update storage.s3_multipart_uploads as u
  set in_progress_size = others.size + $3::bigint
  from fits, others where u.id = fits.id
)
select json_build_object('old', coalesce((select json_agg(version) from old), '[]')) from new

-- name: sum_parts
-- in upload id, part number that does not count; out 1 number
select to_json(coalesce(sum(size), 0)) from storage.s3_multipart_uploads_parts
where upload_id = $1 and part_number <> $2::integer

-- name: list_parts
-- in upload id, part number after which to begin, most; out parts in order
select <part> from storage.s3_multipart_uploads_parts as p
where p.upload_id = $1 and p.part_number > $2::integer
order by p.part_number
limit $3::integer

-- name: delete_upload
-- in id; out 0..1 {versions}: those of its parts
with parts as (
  select coalesce(json_agg(version), '[]') as versions
  from storage.s3_multipart_uploads_parts where upload_id = $1
)
delete from storage.s3_multipart_uploads where id = $1
returning json_build_object('versions', (select versions from parts))

-- name: list_uploads
-- in bucket id, prefix, its end, key after which to begin, upload id after which to begin within that
-- key, most; out uploads in order of key and id
select <upload> from storage.s3_multipart_uploads as u
where u.bucket_id = $1 and u.key >= $2 and u.key < $3
  and (u.key > $4 or (u.key = $4 and $5 <> '' and u.id collate "C" > $5))
order by u.key, u.id collate "C"
limit $6::integer

-- name: insert_credential
-- in access key, sealed secret, description, role, subject or null; out 1 credential
insert into _selfbase.s3_credentials as c (access_key, sealed_secret, description, role, subject)
values ($1, $2, $3, $4, $5)
returning json_build_object('id', c.id)

-- name: find_credential
-- in access key; out 0..1 credential
select json_build_object('sealed_secret', c.sealed_secret, 'role', c.role, 'subject', c.subject)
from _selfbase.s3_credentials as c where c.access_key = $1

-- name: list_credentials
-- out credentials without secrets, oldest first
select json_build_object(
  'id', c.id, 'description', c.description, 'access_key', c.access_key, 'role', c.role,
  'sub', c.subject, 'created_at', to_char(c.created_at at time zone 'UTC', <iso>)
)
from _selfbase.s3_credentials as c order by c.created_at, c.id

-- name: count_credentials
-- out 1 number
select to_json(count(*)) from _selfbase.s3_credentials

-- name: delete_credential
-- in id; out 0..1 id
delete from _selfbase.s3_credentials where id::text = $1 returning to_json(id)
