// The official quick start through supabase-js: prints one JSON object with what happened.
import { createClient } from '@supabase/supabase-js'
import ws from 'ws'

const { API_URL, PUBLISHABLE_KEY, SECRET_KEY, ANON_KEY } = process.env
const options = {
  auth: { persistSession: false, autoRefreshToken: false },
  realtime: { transport: ws }, // Node.js before 22 has no WebSocket of its own
}
const must = ({ data, error }) => {
  if (error) throw new Error(JSON.stringify(error))
  return data
}

async function signUp(name) {
  const client = createClient(API_URL, PUBLISHABLE_KEY, options)
  const email = `${name}-${process.pid}-${Date.now()}@example.com`
  const password = 'correct horse battery'
  must(await client.auth.signUp({ email, password }))
  return { client, email, password }
}

const alice = await signUp('alice')
const bob = await signUp('bob')
const admin = createClient(API_URL, SECRET_KEY, options)
const anon = createClient(API_URL, ANON_KEY, options)

const added = must(await alice.client.from('todos').insert({ task: 'plants' }).select().single())
must(await bob.client.from('todos').insert([{ task: 'cat' }, { task: 'dog' }]))
const stolen = await bob.client.from('todos').update({ task: 'mine' }).eq('id', added.id).select()
const forged = await bob.client
  .from('todos')
  .insert({ task: 'x', user_id: added.user_id })
const wrong = await createClient(API_URL, PUBLISHABLE_KEY, options).auth.signInWithPassword({
  email: alice.email,
  password: 'wrong',
})
const again = createClient(API_URL, PUBLISHABLE_KEY, options)
must(await again.auth.signInWithPassword({ email: alice.email, password: alice.password }))
const before = (await again.auth.getSession()).data.session
const refreshed = must(await again.auth.refreshSession())
const afterRefresh = must(await again.from('todos').select('task'))
const user = must(await again.auth.getUser())
must(await again.auth.updateUser({ data: { nickname: 'al' } }))
const updated = must(await again.auth.getUser())
must(await again.auth.signOut())

console.log(
  JSON.stringify({
    alice: must(await alice.client.from('todos').select('task').order('task')),
    bob: must(await bob.client.from('todos').select('task').order('task')),
    anon: must(await anon.from('todos').select('task')),
    admin: (await admin.from('todos').select('*', { count: 'exact', head: true })).count,
    stolen: stolen.data,
    forged: forged.error?.code,
    wrong: wrong.error?.code,
    refreshed: refreshed.session.refresh_token !== before.refresh_token,
    afterRefresh,
    email: user.user.email === alice.email,
    nickname: updated.user.user_metadata.nickname,
    users: must(await admin.auth.admin.listUsers()).users.length >= 2,
  }),
)
process.exit(0)
