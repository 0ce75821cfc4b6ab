"""Two people, one table, and row level security between them.  Plain supabase-py.

selfbase start --detach && eval "$(selfbase status -o env | sed 's/^/export /')"
pip install supabase && python todos.py
"""

import os
import time

from supabase import Client, create_client


def sign_up(name: str) -> Client:
    client = create_client(os.environ["API_URL"], os.environ["PUBLISHABLE_KEY"])
    email = f"{name}-{time.time_ns()}@example.com"
    client.auth.sign_up({"email": email, "password": "correct horse battery"})
    return client


alice, bob = sign_up("alice"), sign_up("bob")
alice.table("todos").insert({"task": "water the plants"}).execute()
bob.table("todos").insert({"task": "feed the cat"}).execute()

for name, client in (("alice", alice), ("bob", bob)):
    print(f"{name} sees {client.table('todos').select('task, done').execute().data}")
