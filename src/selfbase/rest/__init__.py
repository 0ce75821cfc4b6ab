"""REST over the tables, views and functions of a schema, as PostgREST 14 speaks it.

Read `service` first: it tells the story of a request.  `logic/` holds the stages.
"""
