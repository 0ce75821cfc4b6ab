-- Rules that tables of an earlier supabase/auth lack although 0003, 0004 and 0006 have given them
-- the columns. In: 0010. Locks: each of these tables while it is read, where its rule is missing.

do $$
begin
  if not exists (select from pg_constraint where conrelid = 'auth.sessions'::regclass
    and conname = 'sessions_oauth_client_id_fkey')
  then
    alter table auth.sessions add constraint sessions_oauth_client_id_fkey
      foreign key (oauth_client_id) references auth.oauth_clients(id) on delete cascade;
  end if;
  if not exists (select from pg_constraint where conrelid = 'auth.sessions'::regclass
    and conname = 'sessions_scopes_length')
  then
    alter table auth.sessions add constraint sessions_scopes_length
      check ((char_length(scopes) <= 4096));
  end if;
  if not exists (select from pg_constraint where conrelid = 'auth.oauth_authorizations'::regclass
    and conname = 'oauth_authorizations_nonce_length')
  then
    alter table auth.oauth_authorizations add constraint oauth_authorizations_nonce_length
      check ((char_length(nonce) <= 255));
  end if;
  if not exists (select from pg_constraint where conrelid = 'auth.saml_relay_states'::regclass
    and conname = 'saml_relay_states_flow_state_id_fkey')
  then
    alter table auth.saml_relay_states add constraint saml_relay_states_flow_state_id_fkey
      foreign key (flow_state_id) references auth.flow_state(id) on delete cascade;
  end if;
end
$$;
