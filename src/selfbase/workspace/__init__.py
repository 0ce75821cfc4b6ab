"""The folder a project lives in: where state is kept, the user's `supabase/` folder, their migrations.

Knows files and SQL text.  Does not know services or processes.
"""
