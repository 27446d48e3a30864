// A short conversation of our own with one server.
import { Client } from 'pg'

/** Connects, runs `use`, and closes the connection whatever happens. */
export async function withClient<T>(url: string, use: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 10_000 })
  // A server that goes away fails the query at work; without a listener it would end our process
  // too.
  client.on('error', () => undefined)
  await client.connect()
  try {
    return await use(client)
  } finally {
    await client.end()
  }
}
