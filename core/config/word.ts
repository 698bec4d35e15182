import { z } from 'zod'

/** Pieces of the schema that its files share. */

/** A value that `parse` understands; what it throws becomes the message. */
export const word = <I extends string | number | boolean, T>(input: z.ZodType<I, I>, parse: (value: I) => T) =>
  input.transform((value, context): T => {
    try {
      return parse(value)
    } catch (error) {
      context.addIssue({ code: 'custom', message: (error as Error).message, input: value })
      return z.NEVER
    }
  })

export const text = z.string()

const NAME = /^[a-z0-9][a-z0-9_.-]*$/i
export const name = z.string().regex(NAME, 'a name of letters, digits, dot, dash and underscore is wanted')
