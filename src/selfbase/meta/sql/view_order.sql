-- out: views in the order in which a scan of the catalog meets them
select c.oid::int8 as id from pg_class c where c.relkind = 'v' order by c.ctid
