-- The kinds of values in the schema `auth`. In: a database with the schema and the role
-- supabase_auth_admin. Names and members are those of supabase/auth 2.196, so that dumps move both
-- ways. Every file of this folder may meet a database that supabase/auth has prepared already.

do $$
declare
  kind record;
begin
  for kind in
    select * from (values
      ('aal_level', array['aal1', 'aal2', 'aal3']),
      ('code_challenge_method', array['s256', 'plain']),
      ('factor_status', array['unverified', 'verified']),
      ('factor_type', array['totp', 'webauthn', 'phone']),
      ('oauth_authorization_status', array['pending', 'approved', 'denied', 'expired']),
      ('oauth_client_type', array['public', 'confidential']),
      ('oauth_registration_type', array['dynamic', 'manual']),
      ('oauth_response_type', array['code']),
      ('one_time_token_type', array['confirmation_token', 'reauthentication_token',
        'recovery_token', 'email_change_token_new', 'email_change_token_current',
        'phone_change_token'])
    ) as kinds(name, members)
  loop
    if to_regtype('auth.' || kind.name) is null then
      execute format('create type auth.%I as enum (%s)', kind.name,
        (select string_agg(quote_literal(member), ', ' order by place)
         from unnest(kind.members) with ordinality as members(member, place)));
    end if;
  end loop;
end
$$;

-- The phone factor came later than the type.
alter type auth.factor_type add value if not exists 'phone';

-- What policies ask about the caller. The cluster's bootstrap makes them; an external database may
-- lack them.
do $$
begin
  if to_regprocedure('auth.jwt()') is null then
    create function auth.jwt() returns jsonb language sql stable as
      'select coalesce(nullif(current_setting(''request.jwt.claim'', true), ''''),
         nullif(current_setting(''request.jwt.claims'', true), ''''))::jsonb';
  end if;
  if to_regprocedure('auth.uid()') is null then
    create function auth.uid() returns uuid language sql stable as
      'select coalesce(nullif(current_setting(''request.jwt.claim.sub'', true), ''''),
         nullif(current_setting(''request.jwt.claims'', true), '''')::jsonb ->> ''sub'')::uuid';
  end if;
  if to_regprocedure('auth.role()') is null then
    create function auth.role() returns text language sql stable as
      'select coalesce(nullif(current_setting(''request.jwt.claim.role'', true), ''''),
         nullif(current_setting(''request.jwt.claims'', true), '''')::jsonb ->> ''role'')';
  end if;
  if to_regprocedure('auth.email()') is null then
    create function auth.email() returns text language sql stable as
      'select coalesce(nullif(current_setting(''request.jwt.claim.email'', true), ''''),
         nullif(current_setting(''request.jwt.claims'', true), '''')::jsonb ->> ''email'')';
  end if;
end
$$;
