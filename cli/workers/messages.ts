// What workers, supervisors and successors tell each other, as it arrives: checked before it is used.
import { z } from 'zod'

const named = z.object({ name: z.string(), args: z.array(z.string()) })

/** A kind of snapshot, or a command. */
export const namedCall = named

export const cells = z.array(z.array(z.union([z.string(), z.number(), z.null()])))

export const snapshotList = z.array(z.object({ worker: z.number(), rows: cells }))

export const sentences = z.array(z.string())

/** The secret in hexadecimal digits. */
export const cancelKey = z.object({ pid: z.number(), secret: z.string() })

/** How long clients may stay, and then how long transactions may. */
export const deadlines = z.object({ deadlineMs: z.number(), drainMs: z.number() })

/** What a worker is started with. */
export const workerStart = z.object({
  file: z.string(),
  /** The file as the supervisor has read it, so that all workers run with the same. */
  text: z.string(),
  /** Counted from 1. */
  worker: z.number(),
  count: z.number(),
  /** Number of the process in the cancel keys that it gives. */
  slot: z.number(),
  /** Descriptors on which it listens. */
  tcp: z.array(z.number()),
  unix: z.number().nullable(),
  port: z.number(),
  /** What all workers must have in common that the file may leave out. */
  secret: z.string(),
  /** Orders that are still in force, such as PAUSE. */
  standing: z.array(named),
})

export type WorkerStart = z.output<typeof workerStart>

/** A file as it is to be applied. */
export const newText = z.object({ text: z.string() })
