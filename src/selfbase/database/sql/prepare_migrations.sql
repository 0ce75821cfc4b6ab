-- in: nothing; out: schema _selfbase with the table of applied migrations and the two helpers that
-- numbered files use; locks: the advisory lock of all migrations, until the transaction ends.
-- Run at the start of every migration transaction; changes nothing when all is there.

select pg_advisory_xact_lock(hashtextextended('selfbase migrations', 0));

create schema if not exists _selfbase;

create table if not exists _selfbase.migrations (
  service text not null,
  name text not null,
  checksum text not null,
  applied_at timestamptz not null default now(),
  primary key (service, name)
);

-- What a server that we are not superuser of did not let us do, and what that means.
create table if not exists _selfbase.skipped (
  position bigint generated always as identity,
  statement text primary key,
  consequence text not null,
  reason text not null,
  -- Whether to try again at the next start, when we may have been given the right.
  is_retried boolean not null default true
);
