// Prisma through Ringfence and against one PostgreSQL: the same program, the same observations.
import { prismaProgram } from './prisma.ts'
import { suite } from './suite.ts'

suite('Prisma', prismaProgram)
