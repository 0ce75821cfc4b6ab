// Two people, one table, and row level security between them. Plain supabase-js.
//
//   selfbase start --detach && eval "$(selfbase status -o env | sed 's/^/export /')"
//   npm install @supabase/supabase-js && node todos.mjs       (Node.js 22 or newer)
import { createClient } from '@supabase/supabase-js'

const { API_URL, PUBLISHABLE_KEY } = process.env
const options = { auth: { persistSession: false } }

async function signUp(name) {
  const client = createClient(API_URL, PUBLISHABLE_KEY, options)
  const email = `${name}-${Date.now()}@example.com`
  const { error } = await client.auth.signUp({ email, password: 'correct horse battery' })
  if (error) throw error
  return client
}

const alice = await signUp('alice')
const bob = await signUp('bob')

for (const [client, task] of [[alice, 'water the plants'], [bob, 'feed the cat']]) {
  const { error } = await client.from('todos').insert({ task })
  if (error) throw error
}

for (const [name, client] of [['alice', alice], ['bob', bob]]) {
  const { data, error } = await client.from('todos').select('task, done')
  if (error) throw error
  console.log(`${name} sees ${JSON.stringify(data)}`)
}
