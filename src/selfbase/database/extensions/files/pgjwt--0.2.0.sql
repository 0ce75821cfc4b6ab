-- JSON Web Tokens (RFC 7519) with HMAC signatures: the functions of the extension pgjwt 0.2.0.
--
-- Bodies are in the SQL-standard form: names are resolved once, here, while the schema of pgcrypto
-- is on the search path. No later search path can put another hmac() in its place.

create function url_encode(data bytea) returns text
language sql immutable strict parallel safe
return translate(encode(data, 'base64'), E'+/=\n', '-_');

create function url_decode(data text) returns bytea
language sql immutable strict parallel safe
return decode(
  translate(data, '-_', '+/') || repeat('=', (4 - length(data) % 4) % 4),
  'base64');

create function algorithm_sign(signables text, secret text, algorithm text) returns text
language sql immutable parallel safe
return url_encode(hmac(signables, secret, case algorithm
  when 'HS256' then 'sha256'
  when 'HS384' then 'sha384'
  when 'HS512' then 'sha512'
  else '' end));  -- hmac() refuses the empty name

create function sign(payload json, secret text, algorithm text default 'HS256') returns text
language sql immutable parallel safe
begin atomic
  select p.signables || '.' || algorithm_sign(p.signables, secret, algorithm)
  from (
    select url_encode(convert_to('{"alg":"' || algorithm || '","typ":"JWT"}', 'UTF8'))
      || '.' || url_encode(convert_to(payload::text, 'UTF8')) as signables
  ) as p;
end;

create function try_cast_double(inp text) returns double precision
language plpgsql immutable strict parallel safe
as $$
begin
  return inp::double precision;
exception when data_exception then
  return null;
end
$$;

create function verify(token text, secret text, algorithm text default 'HS256')
returns table (header json, payload json, valid boolean)
language sql stable parallel safe
begin atomic
  select
    t.header,
    t.payload,
    t.signature_ok
      and coalesce(to_timestamp(try_cast_double(t.payload ->> 'nbf')) <= current_timestamp, true)
      and coalesce(to_timestamp(try_cast_double(t.payload ->> 'exp')) > current_timestamp, true)
  from (
    select
      convert_from(url_decode(split_part(token, '.', 1)), 'UTF8')::json as header,
      convert_from(url_decode(split_part(token, '.', 2)), 'UTF8')::json as payload,
      split_part(token, '.', 3) = algorithm_sign(
        split_part(token, '.', 1) || '.' || split_part(token, '.', 2), secret, algorithm)
        as signature_ok
  ) as t;
end;
