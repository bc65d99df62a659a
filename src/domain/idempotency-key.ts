import { z } from 'zod';

/** The maximum length of Stripe and of the IETF draft (reference/http-api.md section 1). */
export const MAX_IDEMPOTENCY_KEY_CHARS = 255;

/** The rule for an idempotency key, as the rest of a sentence. */
export const IDEMPOTENCY_KEY_RULE = `must have 1 to ${MAX_IDEMPOTENCY_KEY_CHARS} printable ASCII characters`;

/** An idempotency key consists of characters that are valid in every header, in quotes if necessary. */
export const idempotencyKeySchema = z
  .string()
  .regex(new RegExp(`^[\\x20-\\x7e]{1,${MAX_IDEMPOTENCY_KEY_CHARS}}$`), IDEMPOTENCY_KEY_RULE);
