// Realtime through supabase-js: broadcast, presence, changes under row level security, private
// channels, coming back after the server went away.  Prints one JSON object with what happened.
import { createClient } from '@supabase/supabase-js'
import ws from 'ws'

const { API_URL, PUBLISHABLE_KEY, SECRET_KEY } = process.env
const options = {
  auth: { persistSession: false, autoRefreshToken: false },
  realtime: { transport: ws },
}
const seen = {}

function once(what) {
  let settle
  const promise = new Promise((resolve, reject) => {
    settle = resolve
    setTimeout(() => reject(new Error(`nothing came: ${what}`)), 20000).unref()
  })
  return [promise, settle]
}

function subscribe(channel) {
  const [promise, settle] = once('subscribe')
  channel.subscribe((status, error) => {
    if (status !== 'CLOSED') settle(error ? `${status}: ${error.message}` : status)
  })
  return promise
}

function active(channel) {
  const [promise, settle] = once('system ok')
  channel.on('system', {}, (payload) => {
    if (payload.extension === 'postgres_changes') settle(payload.status)
  })
  return promise
}

async function signUp(name) {
  const client = createClient(API_URL, PUBLISHABLE_KEY, options)
  const email = `${name}-${process.pid}-${Date.now()}@example.com`
  const { data, error } = await client.auth.signUp({ email, password: 'correct horse battery' })
  if (error) throw error
  return { client, id: data.user.id }
}

const alice = await signUp('alice')
const bob = await signUp('bob')
const admin = createClient(API_URL, SECRET_KEY, options)

// Broadcast, JSON and bytes, over the socket and over HTTP.
{
  const [json, gotJson] = once('json')
  const [bytes, gotBytes] = once('bytes')
  const [http, gotHttp] = once('http')
  const receiver = bob.client
    .channel('room')
    .on('broadcast', { event: 'json' }, ({ payload }) => gotJson(payload))
    .on('broadcast', { event: 'bytes' }, ({ payload }) => gotBytes([...new Uint8Array(payload)]))
    .on('broadcast', { event: 'http' }, ({ payload }) => gotHttp(payload))
  seen.receiver = await subscribe(receiver)
  const sender = alice.client.channel('room', { config: { broadcast: { ack: true } } })
  await subscribe(sender)
  seen.ack = await sender.send({ type: 'broadcast', event: 'json', payload: { text: 'grüß' } })
  await sender.send({ type: 'broadcast', event: 'bytes', payload: new Uint8Array([0, 255]).buffer })
  seen.httpSend = await alice.client.channel('room').httpSend('http', { n: 1 })
  seen.json = await json
  seen.bytes = await bytes
  seen.http = await http
}

// Presence.
{
  const [synced, gotSync] = once('sync')
  const [left, gotLeave] = once('leave')
  const watcher = bob.client.channel('people', { config: { presence: { key: 'bob' } } })
  watcher
    .on('presence', { event: 'sync' }, () => {
      if (watcher.presenceState().alice) gotSync(watcher.presenceState().alice[0].mood)
    })
    .on('presence', { event: 'leave' }, ({ key }) => gotLeave(key))
  await subscribe(watcher)
  const person = alice.client.channel('people', { config: { presence: { key: 'alice' } } })
  await subscribe(person)
  seen.track = await person.track({ mood: 'fine' })
  seen.mood = await synced
  await person.untrack()
  seen.left = await left
}

// Changes: everyone hears of their own rows only.
{
  const heard = { alice: [], bob: [] }
  const [done, settle] = once('changes')
  const wanted = { event: '*', schema: 'public', table: 'todos' }
  for (const [name, { client }] of Object.entries({ alice, bob })) {
    const channel = client.channel('todos').on('postgres_changes', wanted, (change) => {
      heard[name].push([change.eventType, change.new.task ?? null, change.errors])
      if (change.new.task === 'last') settle()
    })
    const ready = active(channel)
    await subscribe(channel)
    seen.system = await ready
  }
  const insert = (who, task) => who.client.from('todos').insert({ task }).throwOnError()
  await insert(alice, 'hers')
  await insert(bob, 'his')
  await alice.client.from('todos').update({ task: 'still hers' }).eq('task', 'hers').throwOnError()
  await insert(bob, 'last')
  await done
  seen.heard = heard
}

// Private channels are closed without a policy, and open to the service role.
{
  seen.private = await subscribe(alice.client.channel('vault', { config: { private: true } }))
  seen.service = await subscribe(admin.channel('vault', { config: { private: true } }))
}

for (const client of [alice.client, bob.client, admin]) await client.removeAllChannels()
console.log(JSON.stringify(seen))
process.exit(0)
