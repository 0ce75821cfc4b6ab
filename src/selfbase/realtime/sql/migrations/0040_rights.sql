-- Who owns what and who may do what; and the versions of upstream this schema stands for.
-- in: everything before; out: owners and grants; locks: the objects named, for a moment.

do $$
declare
  item record;
begin
  alter table realtime.messages owner to supabase_realtime_admin;
  alter table realtime.subscription owner to supabase_realtime_admin;
  for item in
    select p.oid::pg_catalog.regprocedure as name
    from pg_catalog.pg_proc as p where p.pronamespace = 'realtime'::regnamespace
  loop
    execute format('alter function %s owner to supabase_realtime_admin', item.name);
    execute format('grant execute on function %s to postgres, anon, authenticated, service_role', item.name);
  end loop;
  for item in
    select t.typname as name
    from pg_catalog.pg_type as t
    where t.typnamespace = 'realtime'::regnamespace
      and t.typname in ('action', 'equality_op', 'user_defined_filter', 'wal_column', 'wal_rls')
  loop
    execute format('alter type realtime.%I owner to supabase_realtime_admin', item.name);
  end loop;
end
$$;

grant select, insert, update on realtime.messages to postgres, anon, authenticated, service_role;
-- Claims of other people stand in subscriptions: upstream lets the API roles read them, we do not.
revoke all on realtime.subscription from public, anon, authenticated;
grant select on realtime.subscription to postgres, service_role;
revoke all on realtime.schema_migrations from public, postgres, anon, authenticated, service_role;

insert into realtime.schema_migrations (version, inserted_at)
select v.version, now() from (values
  (20211116024918), (20211116045059), (20211116050929), (20211116051442), (20211116212300),
  (20211116213355), (20211116213934), (20211116214523), (20211122062447), (20211124070109),
  (20211202204204), (20211202204605), (20211210212804), (20211228014915), (20220107221237),
  (20220228202821), (20220312004840), (20220603231003), (20220603232444), (20220615214548),
  (20220712093339), (20220908172859), (20220916233421), (20230119133233), (20230128025114),
  (20230128025212), (20230227211149), (20230228184745), (20230308225145), (20230328144023),
  (20231018144023), (20231204144023), (20231204144024), (20231204144025), (20240108234812),
  (20240109165339), (20240227174441), (20240311171622), (20240321100241), (20240401105812),
  (20240418121054), (20240523004032), (20240618124746), (20240801235015), (20240805133720),
  (20240827160934), (20240919163303), (20240919163305), (20241019105805), (20241030150047),
  (20241108114728), (20241121104152), (20241130184212), (20241220035512), (20241220123912),
  (20241224161212), (20250107150512), (20250110162412), (20250123174212), (20250128220012),
  (20250506224012), (20250523164012), (20250714121412), (20250905041441), (20251103001201),
  (20251120212548), (20251120215549), (20260218120000), (20260326120000), (20260514120000),
  (20260527120000), (20260528120000), (20260603120000), (20260605120000), (20260606110000),
  (20260616120000), (20260624120000), (20260626120000), (20260706120000), (20260707120000),
  (20260709120000)
) as v (version)
on conflict do nothing;
