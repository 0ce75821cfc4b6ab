-- Stored S3 credentials, each with the role and subject it acts as.  The secret is sealed with a key
-- derived from the project's secret: whoever reads the table alone cannot sign.

create table if not exists _selfbase.s3_credentials (
  id uuid primary key default gen_random_uuid(),
  access_key text not null unique,
  sealed_secret text not null,
  description text not null default '',
  role text not null,
  subject text,
  created_at timestamptz not null default now()
);
grant select, insert, delete on _selfbase.s3_credentials to service_role;
