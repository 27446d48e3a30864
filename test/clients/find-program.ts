// PostgreSQL's own client programs are no npm packages: they are used where the machine has them.
import { accessSync, constants, readdirSync } from 'node:fs'
import { delimiter, join } from 'node:path'

const debianRoot = '/usr/lib/postgresql'

/** Path of a program of PostgreSQL: PATH first, then Debian's versions, newest first. */
export function findProgram(name: string): string | undefined {
  const onPath = (process.env['PATH'] ?? '').split(delimiter)
  return [...onPath, ...debianFolders()].map((folder) => join(folder, name)).find(isExecutable)
}

function debianFolders(): string[] {
  try {
    const versions = readdirSync(debianRoot).map(Number).filter(Number.isFinite)
    return versions
      .sort((one, other) => other - one)
      .map((version) => `${debianRoot}/${version}/bin`)
  } catch {
    return []
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
