-- A schema `auth` of an earlier release of supabase/auth, from the first one on, brought to where
-- the next files can complete it: columns renamed since then, rules dropped since then, rows that
-- later columns need. In: 0001, and whatever tables there are. On a new database it does nothing.
-- Locks: each table for as long as its rewriting takes.

do $$
declare
  renamed record;
begin
  for renamed in
    select * from (values
      ('users', 'confirmed_at', 'email_confirmed_at'),
      ('users', 'email_change_token', 'email_change_token_new'),
      ('identities', 'id', 'provider_id')
    ) as names(table_name, was, now_called)
  loop
    if exists (select from pg_attribute where attrelid = to_regclass('auth.' || renamed.table_name)
        and attname = renamed.was and not attisdropped)
      and not exists (select from pg_attribute where attrelid = to_regclass('auth.' || renamed.table_name)
        and attname = renamed.now_called and not attisdropped)
    then
      execute format('alter table auth.%I rename column %I to %I',
        renamed.table_name, renamed.was, renamed.now_called);
      if renamed.table_name = 'identities' then
        alter table auth.identities drop constraint if exists identities_pkey;
      end if;
    end if;
  end loop;
end
$$;

alter table if exists auth.users
  add column if not exists phone text default null,
  add column if not exists phone_confirmed_at timestamptz,
  add column if not exists phone_change text default '',
  add column if not exists phone_change_token varchar(255) default '',
  add column if not exists phone_change_sent_at timestamptz,
  add column if not exists is_sso_user boolean default false not null,
  drop constraint if exists users_email_key;
alter table if exists auth.users
  add column if not exists confirmed_at timestamptz
    generated always as (least(email_confirmed_at, phone_confirmed_at)) stored;

do $$
begin
  if to_regclass('auth.users') is null then
    return;
  end if;
  if exists (select from pg_attribute where attrelid = 'auth.users'::regclass
    and attname in ('phone', 'phone_change') and atttypid <> 'text'::regtype)
  then
    begin
      alter table auth.users alter column phone type text, alter column phone_change type text;
    exception when feature_not_supported or dependent_objects_still_exist then
      raise warning 'auth.users.phone stays as short as it is: something of yours depends on it';
    end;
  end if;
  if not exists (select from pg_constraint where conrelid = 'auth.users'::regclass
    and conname = 'users_phone_key')
  then
    alter table auth.users add constraint users_phone_key unique (phone);
  end if;
  if not exists (select from pg_attribute where attrelid = 'auth.users'::regclass
    and attname = 'email_change_confirm_status' and not attisdropped)
  then
    alter table auth.users add column email_change_confirm_status smallint default 0
      constraint users_email_change_confirm_status_check
      check (email_change_confirm_status >= 0 and email_change_confirm_status <= 2);
  end if;
  -- Addresses were once looked up as they were written.
  if exists (select from pg_index where indexrelid = to_regclass('auth.users_instance_id_email_idx')
    and indexprs is null)
  then
    drop index auth.users_instance_id_email_idx;
  end if;
  -- The primary key says it already.
  alter table auth.users drop constraint if exists users_id_key;
end
$$;

do $$
begin
  if to_regclass('auth.refresh_tokens') is null then
    return;
  end if;
  alter table auth.refresh_tokens drop constraint if exists refresh_tokens_parent_fkey;
  alter table auth.refresh_tokens
    add column if not exists parent varchar(255),
    add column if not exists session_id uuid;
  drop index if exists auth.refresh_tokens_token_idx;
  if not exists (select from pg_constraint where conrelid = 'auth.refresh_tokens'::regclass
    and conname = 'refresh_tokens_token_unique')
  then
    alter table auth.refresh_tokens add constraint refresh_tokens_token_unique unique (token);
  end if;
  if to_regclass('auth.sessions') is null then
    create table auth.sessions (
      id uuid not null,
      user_id uuid not null,
      created_at timestamptz,
      updated_at timestamptz,
      constraint sessions_pkey primary key (id),
      constraint sessions_user_id_fkey foreign key (user_id) references auth.users(id) on delete cascade
    );
  end if;
  if not exists (select from pg_constraint where conrelid = 'auth.refresh_tokens'::regclass
    and conname = 'refresh_tokens_session_id_fkey')
  then
    alter table auth.refresh_tokens add constraint refresh_tokens_session_id_fkey
      foreign key (session_id) references auth.sessions(id) on delete cascade;
  end if;
end
$$;

do $$
declare
  is_old boolean;
begin
  -- The table came in 2021; from then on whoever has an address and a password has an identity.
  is_old := to_regclass('auth.users') is not null and (to_regclass('auth.identities') is null
    or not exists (select from pg_attribute where attrelid = to_regclass('auth.identities')
      and attname = 'id' and atttypid = 'uuid'::regtype and not attisdropped));
  if not is_old then
    return;
  end if;
  create table if not exists auth.identities (
    provider_id text not null,
    user_id uuid not null,
    identity_data jsonb not null,
    provider text not null,
    last_sign_in_at timestamptz,
    created_at timestamptz,
    updated_at timestamptz,
    constraint identities_user_id_fkey foreign key (user_id) references auth.users(id) on delete cascade
  );
  alter table auth.identities
    add column if not exists id uuid default gen_random_uuid() not null;
  alter table auth.identities
    add constraint identities_pkey primary key (id),
    add constraint identities_provider_id_provider_unique unique (provider_id, provider);
  insert into auth.identities
    (provider_id, user_id, identity_data, provider, last_sign_in_at, created_at, updated_at)
    select id::text, id, jsonb_build_object('sub', id, 'email', email), 'email', null, now(), now()
    from auth.users as people
    where email is not null and not is_sso_user
      and (encrypted_password <> '' or invited_at is not null)
      and not exists (select from auth.identities as known where known.user_id = people.id);
  update auth.identities as known
    set identity_data = known.identity_data || jsonb_build_object('email', people.email)
    from auth.users as people
    where people.id = known.user_id and known.provider = 'email'
      and known.identity_data ->> 'email' is null;
  alter table auth.identities
    add column if not exists email text
      generated always as (lower((identity_data ->> 'email'::text))) stored;
end
$$;

do $$
begin
  if to_regclass('auth.mfa_amr_claims') is not null and not exists (select from pg_attribute
    where attrelid = to_regclass('auth.mfa_amr_claims') and attname = 'id' and not attisdropped)
  then
    alter table auth.mfa_amr_claims add column id uuid not null default gen_random_uuid();
    alter table auth.mfa_amr_claims alter column id drop default,
      add constraint amr_id_pk primary key (id);
  end if;
  if to_regclass('auth.unique_verified_phone_factor') is not null then
    if to_regclass('auth.unique_phone_factor_per_user') is null then
      alter index auth.unique_verified_phone_factor rename to unique_phone_factor_per_user;
    else
      drop index auth.unique_verified_phone_factor;
    end if;
  end if;
  alter table if exists auth.mfa_factors drop constraint if exists mfa_factors_phone_key;
  if to_regclass('auth.mfa_factors') is not null then
    alter table auth.mfa_factors add column if not exists last_challenged_at timestamptz;
    if not exists (select from pg_constraint where conrelid = 'auth.mfa_factors'::regclass
      and conname = 'mfa_factors_last_challenged_at_key')
    then
      alter table auth.mfa_factors
        add constraint mfa_factors_last_challenged_at_key unique (last_challenged_at);
    end if;
  end if;
end
$$;

drop table if exists auth.sso_sessions;
alter table if exists auth.saml_relay_states drop column if exists from_ip_address;

-- Flows that are not PKCE keep their state too since 2026.
do $$
begin
  if to_regclass('auth.flow_state') is null then
    return;
  end if;
  alter table auth.flow_state
    alter column auth_code drop not null,
    alter column code_challenge drop not null,
    alter column code_challenge_method drop not null,
    add column if not exists authentication_method text not null default '';
  alter table auth.flow_state alter column authentication_method drop default;
end
$$;

-- Clients once had a name of their own beside their id, always a secret, and no stated method.
do $$
begin
  if to_regclass('auth.oauth_clients') is null then
    return;
  end if;
  alter table auth.oauth_clients
    drop column if exists client_id,
    alter column client_secret_hash drop not null,
    add column if not exists client_type auth.oauth_client_type
      default 'confidential'::auth.oauth_client_type not null;
  if not exists (select from pg_attribute where attrelid = 'auth.oauth_clients'::regclass
    and attname = 'token_endpoint_auth_method' and not attisdropped)
  then
    alter table auth.oauth_clients add column token_endpoint_auth_method text;
    update auth.oauth_clients set token_endpoint_auth_method =
      case client_type when 'public' then 'none' else 'client_secret_basic' end;
    alter table auth.oauth_clients alter column token_endpoint_auth_method set not null,
      add constraint oauth_clients_token_endpoint_auth_method_check
        check (token_endpoint_auth_method = any (array['client_secret_basic', 'client_secret_post', 'none']));
  end if;
end
$$;
