-- in: nothing; out: schema _selfbase with the table of applied migrations and the two helpers that
-- numbered files use; locks: the advisory lock of all migrations, until the transaction ends.
-- Run at the start of every migration transaction; changes nothing when all is there.

select pg_advisory_xact_lock(hashtextextended('selfbase migrations', 0));

-- Looked at first, because `if not exists` asks for the right to create even when there is nothing
-- to do, and a service's own login may not have it.
do $$
begin
  if to_regnamespace('_selfbase') is null then
    create schema _selfbase;
  end if;
  if to_regclass('_selfbase.migrations') is null then
    create table _selfbase.migrations (
      service text not null,
      name text not null,
      checksum text not null,
      applied_at timestamptz not null default now(),
      primary key (service, name)
    );
  end if;
  if to_regclass('_selfbase.skipped') is null then
    -- What a server that we are not superuser of did not let us do, and what that means.
    create table _selfbase.skipped (
      position bigint generated always as identity,
      statement text primary key,
      consequence text not null,
      reason text not null,
      -- Whether to try again at the next start, when we may have been given the right.
      is_retried boolean not null default true
    );
  end if;
end
$$;
