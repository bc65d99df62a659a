/** As long as Stripe's and the IETF draft's may be (reference/http-api.md section 1). */
const MAX_KEY_CHARS = 255;

/** Whether a text can be an idempotency key: visible ASCII and spaces, which every header can carry, quoted if need be. */
export const isIdempotencyKey = (text: string): boolean => text.length <= MAX_KEY_CHARS && /^[\x20-\x7e]+$/.test(text);

export const IDEMPOTENCY_KEY_FAULT = `an idempotency key has 1 to ${MAX_KEY_CHARS} characters of visible ASCII`;
