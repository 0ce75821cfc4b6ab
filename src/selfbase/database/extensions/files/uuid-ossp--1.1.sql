-- UUIDs of RFC 9562 versions 1, 3, 4 and 5: the functions of the extension uuid-ossp 1.1.
--
-- Stands in where the server's own library cannot be loaded. One difference: a database server
-- function cannot read the network card, so version 1 carries a node that is random but the same
-- for the life of the cluster, with the multicast bit set as the RFC asks for such nodes.

create function uuid_nil() returns uuid
language sql immutable strict parallel safe
return '00000000-0000-0000-0000-000000000000'::uuid;

create function uuid_ns_dns() returns uuid
language sql immutable strict parallel safe
return '6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid;

create function uuid_ns_url() returns uuid
language sql immutable strict parallel safe
return '6ba7b811-9dad-11d1-80b4-00c04fd430c8'::uuid;

create function uuid_ns_oid() returns uuid
language sql immutable strict parallel safe
return '6ba7b812-9dad-11d1-80b4-00c04fd430c8'::uuid;

create function uuid_ns_x500() returns uuid
language sql immutable strict parallel safe
return '6ba7b814-9dad-11d1-80b4-00c04fd430c8'::uuid;

create function uuid_generate_v4() returns uuid
language sql volatile strict parallel safe
return gen_random_uuid();

-- in: first 16 bytes of a hash; out: the UUID with version and variant bits set.
create function _uuid_of_hash(hash bytea, version integer) returns uuid
language sql immutable strict parallel safe
return encode(
  set_byte(
    set_byte(substring(hash from 1 for 16), 6, (get_byte(hash, 6) & 15) | (version << 4)),
    8, (get_byte(hash, 8) & 63) | 128),
  'hex')::uuid;

create function uuid_generate_v3(namespace uuid, name text) returns uuid
language sql immutable strict parallel safe
return _uuid_of_hash(decode(md5(uuid_send(namespace) || convert_to(name, 'UTF8')), 'hex'), 3);

-- in: any bytes; out: their SHA-1 (FIPS 180-4). The server has SHA-2 only, and pgcrypto, which has
-- this one, may not be there: in a database that a migration tool has just made, for example.
create function _sha1(message bytea) returns bytea
language plpgsql immutable strict parallel safe
set search_path = pg_catalog
as $$
declare
  mask constant bigint := 4294967295;
  padded constant bytea := message
    || decode('80' || repeat('00', (119 - length(message) % 64) % 64), 'hex')
    || int8send(length(message)::bigint * 8);
  h0 bigint := 1732584193;
  h1 bigint := 4023233417;
  h2 bigint := 2562383102;
  h3 bigint := 271733878;
  h4 bigint := 3285377520;
  w bigint[];
  a bigint; b bigint; c bigint; d bigint; e bigint; f bigint; t bigint;
begin
  for start in 0 .. length(padded) - 64 by 64 loop
    for i in 0 .. 15 loop
      w[i] := ('x' || encode(substring(padded from start + i * 4 + 1 for 4), 'hex'))::bit(32)::bigint;
    end loop;
    for i in 16 .. 79 loop
      t := w[i - 3] # w[i - 8] # w[i - 14] # w[i - 16];
      w[i] := ((t << 1) | (t >> 31)) & mask;
    end loop;
    a := h0; b := h1; c := h2; d := h3; e := h4;
    for i in 0 .. 79 loop
      f := case i / 20
        when 0 then ((b & c) | (~b & d)) + 1518500249
        when 1 then (b # c # d) + 1859775393
        when 2 then ((b & c) | (b & d) | (c & d)) + 2400959708
        else (b # c # d) + 3395469782
      end;
      t := ((((a << 5) | (a >> 27)) & mask) + f + e + w[i]) & mask;
      e := d; d := c; c := ((b << 30) | (b >> 2)) & mask; b := a; a := t;
    end loop;
    h0 := (h0 + a) & mask;
    h1 := (h1 + b) & mask;
    h2 := (h2 + c) & mask;
    h3 := (h3 + d) & mask;
    h4 := (h4 + e) & mask;
  end loop;
  return decode(
    lpad(to_hex(h0), 8, '0') || lpad(to_hex(h1), 8, '0') || lpad(to_hex(h2), 8, '0')
      || lpad(to_hex(h3), 8, '0') || lpad(to_hex(h4), 8, '0'),
    'hex');
end
$$;

create function uuid_generate_v5(namespace uuid, name text) returns uuid
language sql immutable strict parallel safe
return _uuid_of_hash(_sha1(uuid_send(namespace) || convert_to(name, 'UTF8')), 5);

-- in: how many, at most 6; out: random bytes: those of a random UUID that hold no version.
create function _random_bytes(count integer) returns bytea
language sql volatile strict parallel safe
return substring(uuid_send(gen_random_uuid()) from 1 for count);

-- in: 6 bytes of node; out: a version 1 UUID of now. Time counts 100 ns since 1582-10-15; the clock
-- has microseconds, so the last digit, like the clock sequence, is random: that keeps UUIDs apart
-- that several sessions make in the same microsecond.
create function _uuid_of_time(node bytea) returns uuid
language sql volatile strict parallel safe
begin atomic
  select (
      lpad(to_hex(t.ticks & 4294967295), 8, '0')
      || lpad(to_hex((t.ticks >> 32) & 65535), 4, '0')
      || '1' || lpad(to_hex((t.ticks >> 48) & 4095), 3, '0')
      || encode(set_byte(t.random, 0, (get_byte(t.random, 0) & 63) | 128), 'hex')
      || encode(node, 'hex')
    )::uuid
  from (
    select
      (extract(epoch from clock_timestamp()) * 10000000)::bigint + 122192928000000000
        + floor(random() * 10)::bigint as ticks,
      _random_bytes(2) as random
  ) as t;
end;

create function uuid_generate_v1() returns uuid
language sql volatile strict parallel safe
begin atomic
  select _uuid_of_time(set_byte(t.node, 0, get_byte(t.node, 0) | 1))
  from (
    select substring(sha256(int8send(c.system_identifier)) from 1 for 6) as node
    from pg_control_system() as c
  ) as t;
end;

create function uuid_generate_v1mc() returns uuid
language sql volatile strict parallel safe
begin atomic
  select _uuid_of_time(set_byte(t.node, 0, get_byte(t.node, 0) | 1))
  from (select _random_bytes(6) as node) as t;
end;
