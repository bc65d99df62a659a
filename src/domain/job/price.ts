import type { EndpointPrice } from '../../config/schema.ts';

/** What a job may cost, in US dollars. `estimated` needs a typical duration; `at_most` is what a job costs that runs to its deadline. */
export type PriceEstimate = {
  currency: 'USD';
  per_second: number;
  estimated_seconds: number | null;
  estimated: number | null;
  at_most: number;
};

/** Null where the endpoint has no price: no estimate is better than a made-up one. */
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

/** To a millionth of a dollar: below that there is only the noise of binary fractions. */
const dollars = (amount: number): number => Math.round(amount * 1e6) / 1e6;
