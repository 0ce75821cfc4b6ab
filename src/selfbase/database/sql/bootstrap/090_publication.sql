-- Realtime sends the changes of the tables in this publication. It starts empty; the owner of the
-- project adds to it.

do $$
begin
  if not exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
    create publication supabase_realtime;
  end if;
end
$$;

alter publication supabase_realtime owner to postgres;
