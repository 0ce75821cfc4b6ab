-- out: what ALTER ROLE SET says for the login role itself, as one text to compare.  Sessions take it
--   over when they begin.  Locks none.
select string_agg(d.setconfig::text, ' ' order by d.setdatabase)
from pg_db_role_setting d
where d.setrole = (select oid from pg_roles where rolname = current_user)
  and d.setdatabase in (0, (select oid from pg_database where datname = current_database()))
