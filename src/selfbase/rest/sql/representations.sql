-- out: one json array of [source type, target type, function]: implicit casts between a domain and
--   json or text that the login role may run.  Locks none.
select json_agg(json_build_array(
  format_type(k.castsource, null), format_type(k.casttarget, null), k.castfunc::regproc::text))
from pg_cast k
join pg_type s on s.oid = k.castsource
join pg_type t on t.oid = k.casttarget
where k.castcontext = 'i' and k.castmethod = 'f'
  and has_function_privilege(k.castfunc, 'execute')
  and ((s.typtype = 'd' and k.casttarget in ('json'::regtype, 'text'::regtype))
    or (t.typtype = 'd' and k.castsource in ('json'::regtype, 'text'::regtype)))
