-- out: one json array of [role, setting, value]: what ALTER ROLE SET says for the roles the login
--   role may act as, as far as the login role may set it itself.  Locks none.
select json_agg(json_build_array(r.rolname, s.name, c.value))
from pg_auth_members m
join pg_roles r on r.oid = m.roleid
cross join lateral (
  select split_part(pair, '=', 1) as name, substr(pair, strpos(pair, '=') + 1) as value
  from unnest(r.rolconfig) pair
) c
join pg_settings s on s.name = c.name
where m.member = (select oid from pg_roles where rolname = current_user)
  and (s.context = 'user' or {may_set})
