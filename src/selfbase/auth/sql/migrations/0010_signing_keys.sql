-- Keys that sign tokens, with their states. In: 0009. The private part is encrypted under a key made
-- from the project's shared secret, so that reading the table is not enough to forge tokens.

create table _selfbase_auth.signing_keys (
  id uuid primary key default gen_random_uuid(),
  algorithm text not null check (algorithm in ('HS256', 'RS256', 'ES256', 'EdDSA')),
  state text not null check (state in ('standby', 'in_use', 'previously_used', 'revoked')),
  sealed_jwk text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create unique index signing_keys_one_in_use on _selfbase_auth.signing_keys (state)
  where state = 'in_use';
