// Stays subscribed for as long as it lives: prints a line whenever the channel's changes are on, and
// one for every change it hears.
import { createClient } from '@supabase/supabase-js'
import ws from 'ws'

const { API_URL, SECRET_KEY } = process.env
const client = createClient(API_URL, SECRET_KEY, {
  auth: { persistSession: false, autoRefreshToken: false },
  realtime: { transport: ws },
})
const say = (line) => console.log(JSON.stringify(line))
client
  .channel('room')
  .on('postgres_changes', { event: 'INSERT', schema: 'public', table: 'heard' }, (change) =>
    say({ heard: change.new.n }),
  )
  .on('system', {}, (message) => message.status === 'ok' && say({ on: true }))
  .subscribe()
