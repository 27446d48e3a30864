// Limits that cannot be divided among the workers: 0 stands for "no limit" with most of them, so that a worker whose
// share is 0 would have none, or could serve nobody.
import { type Contradiction, error } from './contradiction.ts'
import type { Path } from './setting.ts'
import type { FileSettings } from './settings.ts'

type Limit = readonly [path: Path, value: number | null]

/** Every limit that is given and smaller than the number of workers. */
export function workerContradictions(file: FileSettings): readonly Contradiction[] {
  const { workers } = file
  if (workers === 'auto') return []
  return limitsOf(file).flatMap(([path, value]) => {
    if (value === null || value === 0 || value >= workers) return []
    const message = `${value} cannot be divided among ${workers} workers`
    return [error(path, message, 'raise it or lower workers', [['workers']])]
  })
}

function limitsOf({ databases, user_settings: users, limits }: FileSettings): readonly Limit[] {
  return [
    ...Object.entries(databases).flatMap(([name, { pool }]): Limit[] => [
      [['databases', name, 'pool', 'size'], pool.size],
      [['databases', name, 'pool', 'max_client_conn'], pool.max_client_conn],
      [['databases', name, 'pool', 'max_db_connections'], pool.max_db_connections],
    ]),
    ...Object.entries(users).flatMap(([name, user]): Limit[] => [
      [['user_settings', name, 'pool_size'], user.pool_size],
      [['user_settings', name, 'max_user_connections'], user.max_user_connections],
      [['user_settings', name, 'max_user_client_connections'], user.max_user_client_connections],
    ]),
    [['limits', 'max_client_conn'], limits.max_client_conn],
    [['limits', 'max_user_connections'], limits.max_user_connections],
    [['limits', 'max_user_client_connections'], limits.max_user_client_connections],
  ]
}
