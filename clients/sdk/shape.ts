/**
 * Checks that JSON from the network has the documented shape, so that the types of this client are true.
 * Fields it does not know are left alone: a newer gateway may send more.
 */
export type Shape<T> = (value: unknown, path: string, problems: string[]) => value is T;
export type Shaped<S> = S extends Shape<infer T> ? T : never;

type Fields = Record<string, Shape<unknown>>;
type Required<F extends Fields> = { [K in keyof F]: Shaped<F[K]> };
type Optional<F extends Fields> = { [K in keyof F]?: Shaped<F[K]> };

export const text: Shape<string> = (value, path, problems): value is string =>
  typeof value === 'string' || complain(problems, path, 'a string');

export const number: Shape<number> = (value, path, problems): value is number =>
  typeof value === 'number' || complain(problems, path, 'a number');

export const flag: Shape<boolean> = (value, path, problems): value is boolean =>
  typeof value === 'boolean' || complain(problems, path, 'true or false');

export const anything: Shape<unknown> = (value): value is unknown => value !== undefined;

export function oneOf<const T extends string>(...allowed: T[]): Shape<T> {
  return (value, path, problems): value is T =>
    allowed.some((each) => each === value) || complain(problems, path, `one of ${allowed.join(', ')}`);
}

export function nullable<T>(shape: Shape<T>): Shape<T | null> {
  return (value, path, problems): value is T | null => value === null || shape(value, path, problems);
}

/** Accepts the first matching shape. Without one, reports the problems of the last. */
export function either<A, B>(first: Shape<A>, second: Shape<B>): Shape<A | B> {
  return (value, path, problems): value is A | B => first(value, path, []) || second(value, path, problems);
}

export function list<T>(shape: Shape<T>): Shape<T[]> {
  return (value, path, problems): value is T[] =>
    Array.isArray(value)
      ? value.every((item, index) => shape(item, `${path}/${index}`, problems))
      : complain(problems, path, 'a list');
}

export function record<T>(shape: Shape<T>): Shape<Record<string, T>> {
  return (value, path, problems): value is Record<string, T> =>
    isObject(value)
      ? Object.entries(value).every(([name, item]) => shape(item, `${path}/${name}`, problems))
      : complain(problems, path, 'an object');
}

export function object<R extends Fields, O extends Fields>(required: R, optional: O): Shape<Required<R> & Optional<O>> {
  return (value, path, problems): value is Required<R> & Optional<O> =>
    isObject(value)
      ? Object.entries(required).every(([name, shape]) => shape(value[name], `${path}/${name}`, problems)) &&
        Object.entries(optional).every(
          ([name, shape]) => value[name] === undefined || shape(value[name], `${path}/${name}`, problems),
        )
      : complain(problems, path, 'an object');
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function complain(problems: string[], path: string, wanted: string): false {
  problems.push(`${path === '' ? 'the body' : path} is not ${wanted}`);
  return false;
}
