// Two services with pools of their own. What one does for a user, the other one sees, whichever servers they
// read from: the session token goes with the request, in a header or a field of a message.
import { Pool } from 'pg'

const url = process.env.DATABASE_URL ?? 'postgres://demo:demo@127.0.0.1:6432/app'
const shop = new Pool({ connectionString: url })
const mailer = new Pool({ connectionString: process.env.OTHER_DATABASE_URL ?? url })

/** Runs `work` with all that `token` stands for in sight; gives its result and the token of now. */
async function following(token, pool, work) {
  const client = await pool.connect()
  try {
    // Who had this connection before was somebody else: what he has seen is no concern of ours.
    await client.query('RESET ringfence.session_token')
    if (token !== null) {
      await client.query(`SELECT set_config('ringfence.session_token', $1, false)`, [token])
    }
    const result = await work(client)
    const { rows } = await client.query('SHOW ringfence.session_token')
    return { result, token: rows[0]['ringfence.session_token'] }
  } finally {
    client.release()
  }
}

const { token } = await following(null, shop, (client) =>
  client.query(`UPDATE tenants SET plan = 'enterprise' WHERE tenant_id = 3`),
)
const { result } = await following(token, mailer, (client) =>
  client.query('SELECT plan FROM tenants WHERE tenant_id = 3'),
)
console.log(`the mailer sees: ${result.rows[0].plan}`)

await Promise.all([shop.end(), mailer.end()])
