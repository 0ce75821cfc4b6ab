-- Resumable uploads that are not complete.  Ours alone: the reference server keeps this beside the
-- bytes.  A row names one upload; `received` is how many bytes are safe; `segments` are what they were
-- recorded in: [size, MD5 in hex, name in the blob store] each.

create table if not exists _selfbase.resumable_uploads (
  id text primary key,
  bucket_id text not null,
  name text not null,
  length bigint,
  received bigint not null default 0,
  segments jsonb not null default '[]',
  raw_metadata text not null default '',
  mime_type text not null,
  cache_control text not null,
  user_metadata jsonb,
  owner_id text,
  upsert boolean not null default false,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null
);
create index if not exists resumable_uploads_expiry on _selfbase.resumable_uploads (expires_at);
grant select, insert, update, delete on _selfbase.resumable_uploads to service_role;
