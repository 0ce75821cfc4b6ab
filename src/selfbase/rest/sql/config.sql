-- in: prefix text, names text[]; out: settings given to the login role with ALTER ROLE SET, for this
--   database first, then for all: name, value.  Locks none.
with found as (
  select d.setdatabase, split_part(pair, '=', 1) as name, substr(pair, strpos(pair, '=') + 1) as value
  from pg_db_role_setting d, unnest(d.setconfig) pair
  where d.setrole = (select oid from pg_roles where rolname = current_user)
    and d.setdatabase in (0, (select oid from pg_database where datname = current_database()))
)
select distinct on (name) substr(name, length(%(prefix)s) + 1) as name, value
from found
where starts_with(name, %(prefix)s)
order by name, setdatabase desc
