// A web application on Drizzle whose users see what they have done, on whichever server and through whichever
// proxy the next request reads: their session token is a cookie. A program of its own: PORT, DATABASE_URL.
import { createServer, type IncomingMessage } from 'node:http'
import { text as readBody } from 'node:stream/consumers'
import { eq, sql } from 'drizzle-orm'
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres'
import { bigint, pgTable, text } from 'drizzle-orm/pg-core'
import { Pool } from 'pg'

const tenants = pgTable('tenants', {
  tenantId: bigint('tenant_id', { mode: 'number' }).primaryKey(),
  name: text('name').notNull(),
})

const { DATABASE_URL = 'postgres://demo:demo@127.0.0.1:6432/app', PORT = '8080' } = process.env
const pool = new Pool({ connectionString: DATABASE_URL })

/** Runs `work` as a part of the user's session; gives the token for his next request beside the result. */
async function inSession<T>(token: string, work: (db: NodePgDatabase) => Promise<T>) {
  const client = await pool.connect()
  try {
    const db = drizzle(client)
    await db.execute(sql`RESET ringfence.session_token`)
    if (token !== '') {
      await db.execute(sql`SELECT set_config('ringfence.session_token', ${token}, false)`)
    }
    const result = await work(db)
    const now = sql`SELECT current_setting('ringfence.session_token') AS token`
    const { rows } = await db.execute<{ token: string }>(now)
    return { result, token: rows[0]?.token ?? '' }
  } finally {
    client.release()
  }
}

/** GET /tenants/1 gives the name, PUT /tenants/1 sets it to the body. */
async function handle(request: IncomingMessage, db: NodePgDatabase): Promise<string> {
  const tenant = eq(tenants.tenantId, Number(request.url?.replace('/tenants/', '')))
  if (request.method === 'PUT') {
    await db
      .update(tenants)
      .set({ name: await readBody(request) })
      .where(tenant)
    return 'saved'
  }
  const [found] = await db.select().from(tenants).where(tenant)
  return found?.name ?? 'nobody'
}

const server = createServer((request, response) => {
  const token = /(?:^|; *)rf=([^;]*)/.exec(request.headers.cookie ?? '')?.[1] ?? ''
  inSession(token, (db) => handle(request, db)).then(
    ({ result, token }) => {
      response.setHeader('set-cookie', `rf=${token}; Path=/; HttpOnly; SameSite=Lax`)
      response.end(result)
    },
    (error: unknown) => {
      response.statusCode = 500
      response.end(String(error))
    },
  )
})
server.listen(Number(PORT), '127.0.0.1', () => {
  console.log(`listening on ${JSON.stringify(server.address())}`)
})
