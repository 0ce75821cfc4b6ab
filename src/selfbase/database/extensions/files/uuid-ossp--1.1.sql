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

create function uuid_generate_v5(namespace uuid, name text) returns uuid
language sql immutable strict parallel safe
return _uuid_of_hash(digest(uuid_send(namespace) || convert_to(name, 'UTF8'), 'sha1'), 5);

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
      gen_random_bytes(2) as random
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
  from (select gen_random_bytes(6) as node) as t;
end;
