-- What Selfbase keeps beside the upstream schema, so that `auth` stays as dumps know it: settings
-- changed at run time, wrong guesses against codes, shared rate limits. In: 0008 and
-- the schema `_selfbase_auth`.

create table _selfbase_auth.settings (
  only_row boolean primary key default true check (only_row),
  version bigint not null default 1,
  values jsonb not null default '{}',
  changed_at timestamptz not null default now()
);
insert into _selfbase_auth.settings default values;

create table _selfbase_auth.code_attempts (
  user_id uuid primary key references auth.users (id) on delete cascade,
  attempts integer not null,
  at timestamptz not null default now()
);

-- Unlogged: after a crash everybody starts with a full bucket, which is fine.
create unlogged table _selfbase_auth.rate_buckets (
  key text primary key,
  level float8 not null,
  taken boolean not null default true,
  at timestamptz not null
);
create index rate_buckets_at_idx on _selfbase_auth.rate_buckets (at);
