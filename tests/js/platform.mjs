// Storage, Realtime and Auth together through supabase-js: prints one JSON object.
import { createClient } from '@supabase/supabase-js'
import ws from 'ws'

const { API_URL, PUBLISHABLE_KEY, SECRET_KEY } = process.env
const options = {
  auth: { persistSession: false, autoRefreshToken: false },
  realtime: { transport: ws },
}
const must = ({ data, error }) => {
  if (error) throw new Error(JSON.stringify(error, Object.getOwnPropertyNames(error)))
  return data
}
const deadline = setTimeout(() => {
  console.error('nothing more happened within 30 s')
  process.exit(1)
}, 30_000)

async function signUp(name) {
  const client = createClient(API_URL, PUBLISHABLE_KEY, options)
  const email = `${name}-${process.pid}-${Date.now()}@example.com`
  must(await client.auth.signUp({ email, password: 'correct horse battery' }))
  return client
}

// Resolves when both the channel is joined and its database changes are on.
function join(client, topic, heard) {
  return new Promise((resolve, reject) => {
    const waiting = new Set(['joined', 'changes'])
    const done = (what) => waiting.delete(what) && !waiting.size && resolve(channel)
    const channel = client
      .channel(topic, { config: { broadcast: { self: true } } })
      .on('broadcast', { event: 'note' }, ({ payload }) => heard('broadcast', payload))
      .on('postgres_changes', { event: '*', schema: 'public', table: 'todos' }, (change) =>
        heard(change.eventType, change.new.task ?? change.old.id),
      )
      .on('system', {}, (message) => message.status === 'ok' && done('changes'))
      .subscribe((status, error) => {
        if (error) reject(error)
        if (status === 'SUBSCRIBED') done('joined')
      })
  })
}

const alice = await signUp('alice')
const bob = await signUp('bob')
const admin = createClient(API_URL, SECRET_KEY, options)
const bucket = `bucket-${process.pid}-${Date.now()}`

must(await admin.storage.createBucket(bucket, { public: true }))
must(await admin.storage.from(bucket).upload('folder/a.txt', 'hello', { contentType: 'text/plain' }))
const refused = await alice.storage.from(bucket).upload('folder/b.txt', 'no')
const { publicUrl } = admin.storage.from(bucket).getPublicUrl('folder/a.txt').data
const signed = must(await admin.storage.from(bucket).createSignedUrl('folder/a.txt', 60))
const tampered = await fetch(signed.signedUrl.replace('a.txt', 'b.txt'))

const heard = { alice: [], bob: [] }
let last
const all = new Promise((resolve) => (last = resolve))
const room = await join(alice, 'room', (kind, what) => {
  heard.alice.push([kind, what])
  if (kind === 'DELETE') last()
})
await join(bob, 'room', (kind, what) => heard.bob.push([kind, what]))

await room.send({ type: 'broadcast', event: 'note', payload: 'hi' })
const added = must(await alice.from('todos').insert({ task: 'write' }).select().single())
must(await alice.from('todos').update({ task: 'rewrite' }).eq('id', added.id))
must(await alice.from('todos').delete().eq('id', added.id))
await all

clearTimeout(deadline)
console.log(
  JSON.stringify({
    listed: must(await admin.storage.from(bucket).list('folder')).map((object) => object.name),
    public: await (await fetch(publicUrl)).text(),
    signed: await (await fetch(signed.signedUrl)).text(),
    tampered: tampered.status,
    refused: refused.error?.message,
    alice: heard.alice,
    bob: heard.bob.filter(([kind]) => kind !== 'DELETE'),
    id: added.id,
  }),
)
process.exit(0)
