-- Changes of todos reach subscribers, each of whom hears of their own rows only.
alter publication supabase_realtime add table public.todos;
