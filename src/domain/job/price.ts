import type { EndpointPrice } from '../../config/schema.ts';

/**
 * The price of a job in US dollars. `estimated` needs a typical duration; `at_most` is the price of a run until the
 * deadline.
 */
export type PriceEstimate = {
  currency: 'USD';
  per_second: number;
  estimated_seconds: number | null;
  estimated: number | null;
  at_most: number;
};

/** Estimates the price of a job; null when the endpoint has no price. */
export function priceOf(price: EndpointPrice | undefined, finishWithinS: number): PriceEstimate | null {
  if (price === undefined) {
    return null;
  }
  const { per_second, typical_seconds } = price;
  const estimated_seconds = typical_seconds === undefined ? null : Math.min(typical_seconds, finishWithinS);
  return {
    currency: 'USD',
    per_second,
    estimated_seconds,
    estimated: estimated_seconds === null ? null : dollars(per_second * estimated_seconds),
    at_most: dollars(per_second * finishWithinS),
  };
}

/** Rounds to a millionth of a dollar, to remove the error of binary fractions. */
const dollars = (amount: number): number => Math.round(amount * 1e6) / 1e6;
