// Makes dist/ for publishing: plain JavaScript, because Node strips no types under node_modules, with the files
// that the program reads at run time beside it. `node tools/build.ts [directory]`
import { spawnSync } from 'node:child_process'
import { cpSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'

const root = join(import.meta.dirname, '..')
const outDir = resolve(root, process.argv[2] ?? 'dist')

rmSync(outDir, { recursive: true, force: true })
const argv = ['-p', join(root, 'tsconfig.build.json'), '--outDir', outDir]
const tsc = join(root, 'node_modules/.bin/tsc')
const { status, error } = spawnSync(tsc, argv, { cwd: root, stdio: 'inherit' })
if (error !== undefined) throw error
if (status === 0) {
  for (const path of ['package.json', 'catalog/migrations']) {
    cpSync(join(root, path), join(outDir, path), { recursive: true })
  }
} else {
  process.exitCode = 1
}
