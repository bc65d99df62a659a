import { z } from 'zod';

/** As long as Stripe's and the IETF draft's may be (reference/http-api.md section 1). */
export const MAX_IDEMPOTENCY_KEY_CHARS = 255;

/** What is wrong with a text that cannot be an idempotency key. */
export const IDEMPOTENCY_KEY_FAULT = `An idempotency key is 1 to ${MAX_IDEMPOTENCY_KEY_CHARS} printable ASCII characters, spaces included`;

/** An idempotency key: characters that every header can carry, quoted if need be. */
export const idempotencyKeySchema = z
  .string()
  .regex(new RegExp(`^[\\x20-\\x7e]{1,${MAX_IDEMPOTENCY_KEY_CHARS}}$`), IDEMPOTENCY_KEY_FAULT);
