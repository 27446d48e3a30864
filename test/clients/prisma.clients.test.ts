// Prisma through Ringfence and against one PostgreSQL: the same program, the same observations.
import { prismaProgram } from './prisma.ts'
import { npmVersions } from './npm-version.ts'
import { suite } from './suite.ts'

suite(
  {
    client: 'Prisma',
    language: 'JavaScript',
    version: npmVersions('prisma', 'pg'),
    notes: 'its schema engine: session advisory lock, whole scripts as one message',
  },
  prismaProgram,
)
